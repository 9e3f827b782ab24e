"""Synthesized templates, read as what they declare."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aws_cdk import App

from cdk.catalog import FleetDefinition, read_fleet
from cdk.composition import compose

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Resource:
    """One resource of one template."""

    stack: str
    logical_id: str
    type: str
    properties: dict[str, Any]
    attributes: dict[str, Any]
    """DeletionPolicy and its like."""

    def __str__(self) -> str:
        return f"{self.stack}/{self.logical_id}"


@dataclass(frozen=True)
class Templates:
    """All templates of one synthesized app."""

    folder: Path
    bodies: dict[str, dict[str, Any]]
    """Stack name → template."""

    def of_type(self, kind: str) -> list[Resource]:
        """Every resource of a CloudFormation type; never an empty list, so that no assertion holds for lack of a subject."""
        found = [resource for resource in self.all() if resource.type == kind]
        assert found, f"no {kind} in any template"
        return found

    def all(self) -> Iterator[Resource]:
        """Every resource of every stack."""
        for stack, body in self.bodies.items():
            for logical_id, declared in body["Resources"].items():
                attributes = {key: value for key, value in declared.items() if key not in {"Type", "Properties"}}
                yield Resource(stack, logical_id, declared["Type"], declared.get("Properties", {}), attributes)

    def target(self, resource: Resource, reference: Any) -> Resource:
        """The resource of the same stack that a Ref or GetAtt names."""
        logical_id = reference["Ref"] if "Ref" in reference else reference["Fn::GetAtt"][0]
        return next(other for other in self.all() if (other.stack, other.logical_id) == (resource.stack, logical_id))

    def statements(self) -> Iterator[tuple[Resource, dict[str, Any]]]:
        """Every policy statement of every role, managed or inline policy, and resource policy."""
        for resource in self.all():
            for document in _documents(resource.properties):
                for statement in document["Statement"]:
                    yield resource, statement


def synthesize(outdir: Path, **context: Any) -> Templates:
    """Synthesize this project's own fleet with the context of cdk.json and `context` on top."""
    return synthesize_project(read_fleet(ROOT), outdir, **context)


def synthesize_project(fleet: FleetDefinition, outdir: Path, **context: Any) -> Templates:
    """Synthesize any fleet with the context of cdk.json and `context` on top."""
    flags = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    app = App(outdir=str(outdir), context=flags | context, analytics_reporting=False)
    compose(app, fleet)
    app.synth()
    bodies = {
        path.name.removesuffix(".template.json"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(outdir.glob("*.template.json"))
    }
    return Templates(outdir, bodies)


def as_list(value: Any) -> list[Any]:
    """A policy's Action or Resource, which may be one thing or several."""
    return value if isinstance(value, list) else [value]


def flat(value: Any) -> str:
    """An ARN with its intrinsic functions as text: references appear as `<Name>`."""
    match value:
        case str():
            return value
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Fn::ImportValue": name}:
            return f"<{flat(name)}>"
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(flat(part) for part in parts)
    raise AssertionError(f"no text for {value}")


def _documents(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "Statement" in node:
            yield node
        else:
            for child in node.values():
                yield from _documents(child)
    elif isinstance(node, list):
        for child in node:
            yield from _documents(child)
