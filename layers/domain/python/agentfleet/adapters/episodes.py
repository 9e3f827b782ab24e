"""What became of goals in words, in the memory table. Every partition belongs to one tenant.

Key rules (pk, sk):

    EPISODE   EPISODES#tenant   <ended ISO>#goal
    PLAN      PLANS#tenant      goal
    SUMS      SUMS#tenant       capability
    SEEN      SEEN#tenant       goal

A goal's sums, its episode and the mark that it was seen are one transaction: a redelivered event changes nothing.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from agentfleet.adapters.backoff import Backoff
from agentfleet.adapters.dynamo import Item, from_micros, read_items, to_micros, to_seconds, write_items
from agentfleet.adapters.memory import partition
from agentfleet.domain.codec import dumps
from agentfleet.domain.episode import EpisodeHead, Measured

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LIFETIME: Final = timedelta(days=400)
SEEN_LIFETIME: Final = timedelta(days=30)
"""As long as goals are kept: after that an event finds no goal that it could be about."""
LISTED: Final = 1_000


class DynamoEpisodes:
    """An EpisodeStore: `DynamoEpisodes(dynamodb, table, threads)`."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str, threads: Executor, backoff: Backoff | None = None) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._threads = threads
        self._backoff = backoff or Backoff()

    def keep(self, tenant: str, head: EpisodeHead, plan: Mapping[str, Any] | None, measured: Mapping[str, Measured]) -> bool:
        """Add to the sums, and store the episode with its plan (None: no episode): all of it, once per goal.

        False if the goal was remembered before: nothing was changed.
        """
        seen = {
            "pk": {"S": f"SEEN#{tenant}"},
            "sk": {"S": head.goal_id},
            "expires": {"N": to_seconds(head.when + SEEN_LIFETIME)},
        }
        steps: Any = [
            {"Put": {"TableName": self._table, "Item": seen, "ConditionExpression": "attribute_not_exists(pk)"}},
            *({"Update": self._addition(tenant, capability, more)} for capability, more in sorted(measured.items())),
        ]
        if plan is not None:
            expires = {"expires": {"N": to_seconds(head.when + LIFETIME)}}
            plan_item = {**_plan_key(tenant, head.goal_id), "plan": {"S": dumps(plan)}, **expires}
            steps.append({"Put": {"TableName": self._table, "Item": {**_key(tenant, head), **_to_item(head), **expires}}})
            steps.append({"Put": {"TableName": self._table, "Item": plan_item}})
        for _ in self._backoff.rounds():
            try:
                self._dynamodb.transact_write_items(TransactItems=steps)
            except ClientError as error:
                reasons = [one.get("Code") for one in error.response.get("CancellationReasons", ())]
                if reasons and reasons[0] == "ConditionalCheckFailed":
                    return False
                if "TransactionConflict" not in reasons:
                    raise
                conflict = error
            else:
                return True
        raise conflict

    def _addition(self, tenant: str, capability: str, more: Measured) -> dict[str, Any]:
        return {
            "TableName": self._table,
            "Key": {"pk": {"S": f"SUMS#{tenant}"}, "sk": {"S": capability}},
            "UpdateExpression": "ADD tasks :tasks, milliseconds :milliseconds, nanodollars :nanodollars",
            "ExpressionAttributeValues": {
                ":tasks": {"N": str(more.count)},
                ":milliseconds": {"N": str(more.milliseconds)},
                ":nanodollars": {"N": str(more.nanodollars)},
            },
        }

    def heads(self, tenant: str) -> Sequence[EpisodeHead]:
        """A tenant's episodes without their plans, at most 1,000, newest first."""
        found = partition(self._dynamodb, self._table, f"EPISODES#{tenant}", newest_first=True)
        return [_to_head(item) for item in islice(found, LISTED)]

    def plans(self, tenant: str, goal_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The plans that there are among these, by goal."""
        keys = [(f"PLANS#{tenant}", goal_id) for goal_id in goal_ids]
        items = read_items(self._dynamodb, self._table, keys, self._threads, self._backoff)
        return {item["sk"]["S"]: json.loads(item["plan"]["S"]) for item in items}

    def sums(self, tenant: str, capabilities: Iterable[str] | None = None) -> dict[str, Measured]:
        """What was measured of these capabilities, or of all."""
        if capabilities is None:
            items = list(partition(self._dynamodb, self._table, f"SUMS#{tenant}"))
        else:
            keys = [(f"SUMS#{tenant}", capability) for capability in capabilities]
            items = read_items(self._dynamodb, self._table, keys, self._threads, self._backoff)
        return {item["sk"]["S"]: _to_measured(item) for item in sorted(items, key=lambda one: one["sk"]["S"])}

    def drop_episodes(self, tenant: str, heads: Iterable[EpisodeHead]) -> None:
        """Forget with their plans; an absent one is none the worse for it. Sums stay."""
        given = list(heads)
        self._drop([*(_key(tenant, head) for head in given), *(_plan_key(tenant, head.goal_id) for head in given)])

    def drop_sums(self, tenant: str) -> int:
        """Forget what was measured. Gives of how many capabilities."""
        found = list(partition(self._dynamodb, self._table, f"SUMS#{tenant}"))
        self._drop({"pk": item["pk"], "sk": item["sk"]} for item in found)
        return len(found)

    def _drop(self, keys: Iterable[Item]) -> None:
        requests = ({"DeleteRequest": {"Key": key}} for key in keys)
        write_items(self._dynamodb, self._table, requests, self._threads, self._backoff)


def _key(tenant: str, head: EpisodeHead) -> Item:
    ended = head.when.isoformat(timespec="microseconds")
    return {"pk": {"S": f"EPISODES#{tenant}"}, "sk": {"S": f"{ended}#{head.goal_id}"}}


def _plan_key(tenant: str, goal_id: str) -> Item:
    return {"pk": {"S": f"PLANS#{tenant}"}, "sk": {"S": goal_id}}


def _to_item(head: EpisodeHead) -> Item:
    return {
        "words": {"S": head.goal},
        "succeeded": {"BOOL": head.succeeded},
        "seconds": {"S": repr(head.seconds)},
        "dollars": {"S": repr(head.dollars)},
        "ended": {"N": str(to_micros(head.when))},
        "tasks": {"N": str(head.tasks)},
    }


def _to_head(item: Item) -> EpisodeHead:
    return EpisodeHead(
        goal_id=item["sk"]["S"].rpartition("#")[2],
        goal=item["words"]["S"],
        succeeded=item["succeeded"]["BOOL"],
        seconds=float(item["seconds"]["S"]),
        dollars=float(item["dollars"]["S"]),
        when=from_micros(item["ended"]["N"]),
        tasks=int(item["tasks"]["N"]),
    )


def _to_measured(item: Item) -> Measured:
    return Measured(*(int(item[name]["N"]) for name in ("tasks", "milliseconds", "nanodollars")))
