"""The state machine that undoes what failed goals did, and the function that tells it what is left."""

from dataclasses import dataclass
from typing import Final

from aws_cdk import Duration, Fn
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from agentfleet.domain import names
from cdk.access import FleetAccess
from cdk.constructs.python_function import PythonFunction, PythonFunctionProps
from cdk.constructs.queue_with_dlq import alarm_on
from cdk.constructs.state_machine import StateMachine, StateMachineProps
from cdk.foundation import Foundation

LOOK_TIMEOUT: Final = 120
"""Seconds; less than the state machine waits for it."""


@dataclass(frozen=True)
class SagaMachineProps:
    """What a saga stands on."""

    foundation: Foundation
    access: FleetAccess
    layers: tuple[lambda_.ILayerVersion, ...]
    topic: sns.ITopic | None


class SagaMachine(Construct):
    """One execution per goal that is undone. An execution that fails has left a goal to a person: that is an alarm."""

    def __init__(self, scope: Construct, construct_id: str, props: SagaMachineProps) -> None:
        super().__init__(scope, construct_id)
        fleet, access = props.foundation.fleet, props.access
        self.compensate_goals = PythonFunction(
            self,
            "CompensateGoals",
            PythonFunctionProps(
                stage=props.foundation.stage,
                key=access.key,
                function_name=names.function(fleet.name, "compensate_goals"),
                description="Tells the saga what is left to undo",
                folder=fleet.root / "functions" / "compensate_goals",
                layers=props.layers,
                permissions=access.undo_plans(),
                environment=access.environment("work", "registry"),
                memory=1024,
                timeout=LOOK_TIMEOUT,
            ),
        )
        release_queue = names.release_queue(fleet.name)
        self.machine = StateMachine(
            self,
            "Saga",
            StateMachineProps(
                stage=props.foundation.stage,
                key=access.key,
                name=names.saga_machine(fleet.name),
                definition=fleet.root / "statemachines" / "saga.asl.json",
                substitutions={
                    "CompensateGoals": self.compensate_goals.function.function_arn,
                    "QueueUrlPrefix": f"{Fn.select(0, Fn.split(f'/{release_queue}', access.release_queue_url))}/",
                },
                permissions=access.run_sagas(),
                timeout=30 * 86_400,
            ),
        )
        alarm = cloudwatch.Alarm(
            self,
            "Parked",
            alarm_name=f"{names.saga_machine(fleet.name)}-parked",
            alarm_description="A compensation kept failing, so a goal is half undone: see `fleet compensate GOAL`.",
            metric=self.machine.machine.metric_failed(period=Duration.minutes(1), statistic="Sum"),
            threshold=1,
            evaluation_periods=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm_on(alarm, props.topic)
