"""Knowledge in the stacks: one index, three functions that carry its weight, and nobody else who may read it."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.loading import lambda_builtins, make
from cdk.catalog import read_fleet
from cdk.errors import FleetError
from cdk.layers import LayerBuilder, LayerTarget
from tests.infra.projects import FLEET, write_project
from tests.infra.templates import ROOT, Templates, as_list, flat

LIMIT_MB = 250
"""Of a function with all its layers, unzipped (Lambda quotas)."""
CARRIERS = {"fleet-knowledge", "fleet-serve-knowledge", "fleet-serve-mcp"}


def test_vectors_are_indexed_by_space(templates: Templates) -> None:
    """As wide as the model makes them, found only within one tenant's domain, with keys and nothing else."""
    [table] = [one for one in templates.of_type("AWS::DynamoDB::Table") if one.properties["TableName"] == "fleet-knowledge"]

    [index] = table.properties["VectorIndexes"]

    assert index == {
        "IndexName": "by-minilm-384",
        "VectorAttribute": {"AttributeName": "minilm-384"},
        "Dimensions": 384,
        "DistanceFunction": "COSINE",
        "Projection": {"ProjectionType": "KEYS_ONLY"},
        "SearchSchema": [{"AttributeName": "space", "SearchSchemaElementType": "HASH"}],
    }
    assert {"AttributeName": "space", "AttributeType": "S"} in table.properties["AttributeDefinitions"]
    assert table.properties["BillingMode"] == "PAY_PER_REQUEST"


def test_only_three_functions_carry_the_model_and_may_read(templates: Templates) -> None:
    """The pool, the API's routes below /knowledge, and the MCP server; no other has the layer or a permission."""
    functions = {one.properties["FunctionName"]: one for one in templates.of_type("AWS::Lambda::Function")}
    carrying = {
        name for name, one in functions.items() if any("Knowledge" in flat(layer) for layer in one.properties.get("Layers", ()))
    }
    allowed = {
        resource.logical_id for resource, one in templates.statements() if "dynamodb:SearchVectors" in as_list(one["Action"])
    }

    assert carrying == CARRIERS
    assert len(allowed) == 3
    for name, one in functions.items():
        assert ("KNOWLEDGE_TABLE" in one.properties["Environment"]["Variables"]) == (name in CARRIERS), name


def test_the_layers_fit_into_a_function() -> None:
    """All that any carrier has together, on Lambda's processor."""
    builder = LayerBuilder(ROOT, LayerTarget.aws())

    sizes = {
        name: sum(path.stat().st_size for path in builder.dependencies(name).rglob("*") if path.is_file()) / 2**20
        for name in ("core", "knowledge", "mcp")
    }

    assert sum(sizes.values()) < LIMIT_MB - 50, sizes
    assert sizes["core"] < 40, sizes


def test_the_layer_embeds_and_searches_with_nothing_else(tmp_path: Path) -> None:
    """What was left out of it is not needed: a process that has the layers and Lambda's own embeds a text."""
    builder = LayerBuilder(ROOT, LayerTarget.this_interpreter())
    folders = [
        ROOT / "layers" / "domain" / "python",
        *(builder.dependencies(name) / "python" for name in ("core", "knowledge")),
        lambda_builtins(make(tmp_path / "builtin")),
    ]
    program = f"""
import sys
sys.path[:0] = {[str(folder) for folder in folders]!r}
import numpy
from agentfleet.adapters.embedders import MiniLm
from agentfleet.adapters.pdf import PdfPages
from agentfleet.adapters.vector_files import build_graph, open_graph
rows = numpy.eye(8, dtype=numpy.float32)
graph = open_graph({{"graph": numpy.frombuffer(build_graph(rows), numpy.uint8)}})
import botocore.session, pypdf
model = botocore.session.Session().get_service_model("dynamodb")
print(len(MiniLm(1).embed(["text"])[0]), graph.search(rows[3], 1).keys.tolist(), "SearchVectors" in model.operation_names)
"""

    finished = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)

    assert finished.stdout.strip() == "384 [3] True", finished.stderr


def test_a_layer_leaves_out_what_its_file_says(tmp_path: Path) -> None:
    """By patterns in comments; everything else stays."""
    root = write_project(tmp_path)
    requirements = root / "layers" / "dependencies" / "extra.txt"
    requirements.write_text("# leave out: annotated_types/test_* annotated_types/py.typed\nannotated-types==0.8.0\n")

    layer = LayerBuilder(root, LayerTarget.this_interpreter()).dependencies("extra")

    assert (layer / "python" / "annotated_types" / "__init__.py").exists()
    assert not (layer / "python" / "annotated_types" / "py.typed").exists()


def test_the_choice_of_model_and_index_is_checked(tmp_path: Path) -> None:
    """A model that there is none of is named with those that there are."""
    root = write_project(tmp_path, FLEET + '\n[knowledge]\nembedder = "word2vec"\n')

    with pytest.raises(FleetError, match=r"knowledge.embedder: Input should be 'minilm' or 'titan'"):
        read_fleet(root)
