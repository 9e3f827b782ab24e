"""The layers that the functions of one stack use."""

from collections.abc import Mapping
from typing import Final

from aws_cdk import RemovalPolicy
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from cdk.foundation import Foundation
from cdk.layers import LayerBuilder

MORE: Final[Mapping[str, tuple[str, ...]]] = {"serve_mcp": ("mcp",)}
"""Folders of functions that are no pools → the dependency layers that they need besides core."""


class FleetLayers(Construct):
    """Layer versions of this stack's own: a new version shared by export could never replace the one in use elsewhere."""

    def __init__(self, scope: Construct, construct_id: str, foundation: Foundation) -> None:
        super().__init__(scope, construct_id)
        self._fleet = foundation.fleet
        self._builder = LayerBuilder(foundation.fleet.root, foundation.stage.layer_target)
        self._versions: dict[str, lambda_.LayerVersion] = {}

    def of(self, *names: str) -> tuple[lambda_.ILayerVersion, ...]:
        """The domain layer, core, and these dependency layers."""
        return tuple(self._version(name) for name in ("domain", "core", *names))

    def _version(self, name: str) -> lambda_.LayerVersion:
        if name not in self._versions:
            folder = self._builder.domain(self._fleet.catalog) if name == "domain" else self._builder.dependencies(name)
            self._versions[name] = lambda_.LayerVersion(
                self,
                name.title(),
                layer_version_name=f"{self._fleet.name}-{name}",
                description="The agentfleet package" if name == "domain" else f"layers/dependencies/{name}.txt",
                code=lambda_.Code.from_asset(str(folder)),
                compatible_runtimes=[lambda_.Runtime.PYTHON_3_13],
                compatible_architectures=[lambda_.Architecture.ARM_64],
                removal_policy=RemovalPolicy.DESTROY,
            )
        return self._versions[name]
