"""Routes of the HTTP API by topic: what every file of them needs."""

from typing import TYPE_CHECKING, Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.event_handler.router import APIGatewayHttpRouter

from agentfleet import bootstrap
from agentfleet.services.authorize import Caller, caller_of

if TYPE_CHECKING:
    from agentfleet.services.knowledge import Knowledge
    from agentfleet.services.memory_desk import MemoryDesk

Limit = Annotated[int, Query(ge=1, le=200, description="How many at most")]
Cursor = Annotated[str | None, Query(max_length=1024, description="Where the page before ended")]


class Routes(APIGatewayHttpRouter):
    """Some of the API's routes, what they call, and whose request it is."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # its author left out `-> None`

    @property
    def fleet(self) -> bootstrap.Api:
        """The services behind the API."""
        return bootstrap.api()

    @property
    def knowledge(self) -> "Knowledge":
        """What the fleet knows."""
        return bootstrap.knowledge()

    @property
    def memory(self) -> "MemoryDesk":
        """What agents remember."""
        return bootstrap.memory()

    def caller(self) -> Caller:
        """Whose request this is, as the authorizer says. Raises Unauthorized."""
        return caller_of(self.current_event.raw_event)

    def tenant(self) -> str:
        """Whose request this is. Raises Unauthorized."""
        return self.caller().tenant

    def operator(self) -> str:
        """Whose request this is, if it may change what all tenants share. Raises Unauthorized, Forbidden."""
        return self.caller().operator.tenant
