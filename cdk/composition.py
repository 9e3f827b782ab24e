"""All stacks of a fleet, in the order in which they rest on each other."""

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks

from cdk.catalog import FleetDefinition
from cdk.foundation import Foundation
from cdk.stacks.agents import AgentsStack
from cdk.stacks.api import ApiStack
from cdk.stacks.cache import CacheStack
from cdk.stacks.data import DataStack
from cdk.stacks.history import HistoryStack
from cdk.stacks.messaging import MessagingStack
from cdk.stacks.observability import ObservabilityStack
from cdk.stage import Stage


def compose(app: App, fleet: FleetDefinition) -> None:
    """Add the fleet's stacks to `app`, named after the fleet. With `-c nag=true` cdk-nag checks them at synth.

    Raises FleetError when a layer cannot be built.
    """
    stage = Stage.from_context(app.node)
    data = DataStack(app, f"{fleet.name}-data", stage=stage, fleet=fleet.name, knowledge=fleet.knowledge)
    messaging = MessagingStack(app, f"{fleet.name}-messaging", stage=stage, fleet=fleet.name, key_arn=data.key.key_arn)
    foundation = Foundation(
        stage=stage,
        fleet=fleet,
        key_arn=data.key.key_arn,
        bucket_export=data.bucket_export,
        release_queue_url=messaging.release.queue.queue_url,
    )
    cache = (
        CacheStack(app, f"{fleet.name}-cache", stage=stage, fleet=fleet.name, key_arn=data.key.key_arn)
        if stage.elasticache
        else None
    )
    agents = AgentsStack(app, f"{fleet.name}-agents", foundation=foundation, topic=messaging.topic, cache=cache)
    api = ApiStack(app, f"{fleet.name}-api", foundation=foundation)
    # The API finds the pools by name, not by export; it should still not open before they are there.
    api.add_stack_dependency(agents)
    agents.add_stack_dependency(messaging)
    if stage.history:
        history = HistoryStack(app, f"{fleet.name}-history", foundation=foundation, topic=messaging.topic)
        history.add_stack_dependency(data)
    ObservabilityStack(
        app,
        f"{fleet.name}-observability",
        fleet=fleet,
        api_id=api.api.api_id,
        history=stage.history,
        topic=messaging.topic,
    )
    if app.node.try_get_context("nag"):
        Validations.of(app).add_plugins(AwsSolutionsChecks(app))
