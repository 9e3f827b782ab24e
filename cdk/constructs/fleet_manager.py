"""The function that sizes the pools, and the clock that calls it."""

from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from agentfleet.domain import names
from cdk.access import FleetAccess
from cdk.constructs.python_function import PythonFunction, PythonFunctionProps
from cdk.foundation import Foundation

EVERY: Final = Duration.minutes(1)
TIMEOUT: Final = 50
"""Seconds: a pass has ended before the next one starts."""


class FleetManager(PythonFunction):
    """manage_fleet, called each minute. A pass that fails is not repeated: the next one is a minute away."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        foundation: Foundation,
        access: FleetAccess,
        layers: tuple[lambda_.ILayerVersion, ...],
    ) -> None:
        name = names.function(foundation.fleet.name, "manage_fleet")
        super().__init__(
            scope,
            construct_id,
            PythonFunctionProps(
                stage=foundation.stage,
                key=access.key,
                function_name=name,
                description="Sizes the pools by their load",
                folder=foundation.fleet.root / "functions" / "manage_fleet",
                layers=layers,
                permissions=access.manage_the_fleet(),
                environment=access.environment("work", "registry"),
                memory=512,
                timeout=TIMEOUT,
            ),
        )
        events.Rule(
            self,
            "EachMinute",
            rule_name=name,
            description="The fleet manager looks at the pools",
            schedule=events.Schedule.rate(EVERY),
            targets=[targets.LambdaFunction(self.function, retry_attempts=0, max_event_age=EVERY)],
        )
