"""Layers: the same in, the same out, and all that the functions import."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.loading import HERE, functions_of, lambda_builtins, make, run_alone
from cdk.catalog import read_fleet
from cdk.errors import FleetError
from cdk.layers import LayerBuilder, LayerTarget
from tests.infra.projects import write_project
from tests.infra.templates import ROOT


def contents(folder: Path) -> set[str]:
    """Relative paths of all files."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_domain_layer_holds_the_package_and_what_it_knows_of_the_fleet(tmp_path: Path) -> None:
    """Catalog and playbooks lie beside the code, under python/ as Lambda wants it."""
    root = write_project(tmp_path)

    layer = LayerBuilder(root, HERE).domain(read_fleet(root).catalog)

    assert {f"python/agentfleet/{name}" for name in ("__init__.py", "catalog.json", "playbooks.json")} <= contents(layer)


def test_the_same_input_gives_the_same_layer(tmp_path: Path) -> None:
    """Built anew in another place, so that a deploy without changes finds nothing to do."""
    first, second = (write_project(make(tmp_path / name)) for name in ("first", "second"))

    layers = [LayerBuilder(root, HERE).domain(read_fleet(root).catalog) for root in (first, second)]

    assert layers[0].name == layers[1].name
    assert contents(layers[0]) == contents(layers[1])
    assert all((layers[0] / path).read_bytes() == (layers[1] / path).read_bytes() for path in contents(layers[0]))


def test_a_change_in_the_code_gives_another_layer(tmp_path: Path) -> None:
    """Otherwise a deploy would leave the old code running."""
    root = write_project(tmp_path)
    builder = LayerBuilder(root, HERE)
    before = builder.domain(read_fleet(root).catalog)

    (root / "layers" / "domain" / "python" / "agentfleet" / "__init__.py").write_text("NEW = True\n")

    assert builder.domain(read_fleet(root).catalog) != before


def test_a_dependency_layer_is_installed_once(tmp_path: Path) -> None:
    """The second synth finds it by the hash of what went in, and nothing half-built is left behind."""
    root = write_project(tmp_path)
    builder = LayerBuilder(root, HERE)

    layer = builder.dependencies("core")
    stamp = layer.stat().st_mtime_ns

    assert "python/annotated_types/__init__.py" in contents(layer)
    assert builder.dependencies("core").stat().st_mtime_ns == stamp
    assert [path.name for path in layer.parent.iterdir()] == [layer.name]


def test_a_layer_leaves_out_what_lambda_has_and_what_nobody_needs() -> None:
    """No second boto3, no tests, no installation records; what is pinned by name stays."""
    files = contents(LayerBuilder(ROOT, LayerTarget.aws()).dependencies("core"))

    tops = {path.split("/")[1] for path in files}
    assert {"pydantic", "pynamodb", "jmespath", "aws_lambda_powertools"} <= tops
    assert not {"boto3", "botocore", "s3transfer", "urllib3", "dateutil", "bin"} & tops
    assert not [path for path in files if "/tests/" in path or path.endswith("/RECORD")]


def test_wheels_for_lambda_are_for_its_processor_and_version() -> None:
    """Wherever the deploy runs: arm64 and Python 3.13."""
    files = contents(LayerBuilder(ROOT, LayerTarget.aws()).dependencies("core"))

    compiled = [path for path in files if path.endswith(".so")]
    assert compiled
    assert all("cpython-313-aarch64" in path for path in compiled)


def test_a_package_without_a_wheel_is_explained(tmp_path: Path) -> None:
    """With the file's name and the installer's words."""
    root = write_project(tmp_path)
    (root / "layers" / "dependencies" / "extra.txt").write_text("annotated-types==0.0.0.1\n")

    with pytest.raises(FleetError, match=r"extra.txt: cannot install for Python"):
        LayerBuilder(root, HERE).dependencies("extra")


def test_an_unknown_layer_is_an_error(tmp_path: Path) -> None:
    """A layer is a file in layers/dependencies."""
    with pytest.raises(FleetError, match=r"layers/dependencies/nope.txt: no such file"):
        LayerBuilder(write_project(tmp_path), HERE).dependencies("nope")


def test_every_function_imports_with_nothing_but_its_layers(tmp_path: Path) -> None:
    """What Lambda has built in, the function's layers and its folder: the emulator's own packages would hide a gap."""
    builtin = lambda_builtins(make(tmp_path / "builtin"))
    functions = functions_of(read_fleet(ROOT))

    def load(name: str) -> str:
        finished = run_alone("import handler", [*functions[name], builtin])
        return f"{name}: {finished.stderr}" if finished.returncode else ""

    with ThreadPoolExecutor(max_workers=2) as pool:
        problems = "".join(pool.map(load, functions))

    assert not problems
