"""Compiled plans: inside their item when small, else in S3 with the header still in the item; read once per process."""

import hashlib
from collections import OrderedDict
from concurrent.futures import Executor
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING, Final

from pynamodb.exceptions import DoesNotExist, PutError

from agentfleet.adapters.dynamo import bind, condition_failed
from agentfleet.adapters.work_table import LIFETIME, PLAN, PlanItem
from agentfleet.domain.codec import INLINE_BYTES, EncodedPlan, SegmentedPlan
from agentfleet.domain.errors import NotFound
from agentfleet.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

_HEADER: Final = "header"
"""The part that a plan can't be opened without (see EncodedPlan)."""
KEPT: Final = 32
"""Plans that a process keeps: an agent mostly works on a few goals at a time."""


class DynamoPlans:
    """A PlanStore: `DynamoPlans(dynamodb, table, s3, bucket, threads, clock, lifetime=60 days, kept=32)`.

    Parts in S3 lie under `plans/{goal}/{digest}/{part}`: were two different plans ever stored for one goal at once, the
    parts that belong together would still be together.
    """

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        table: str,
        s3: "S3Client",
        bucket: str,
        threads: Executor,
        clock: Clock,
        lifetime: timedelta = LIFETIME,
        kept: int = KEPT,
    ) -> None:
        self._items = bind(PlanItem, table, dynamodb)
        self._s3 = s3
        self._bucket = bucket
        self._threads = threads
        self._clock = clock
        self._lifetime = lifetime
        self._kept = kept
        self._plans: OrderedDict[str, SegmentedPlan] = OrderedDict()
        self._lock = Lock()

    def put(self, goal_id: str, plan: EncodedPlan) -> bool:
        """Store a plan unless the goal has one. False if it has: that one stays as it is, also where `plan` differs."""
        inline, digest = plan.parts, None
        if not plan.is_inline:
            digest = _digest(plan)
            inline = {name: part for name, part in plan.parts.items() if name == _HEADER and len(part) <= INLINE_BYTES}
            prefix = f"plans/{goal_id}/{digest}/"
            filed = [(prefix + name, part) for name, part in plan.parts.items() if name not in inline]
            for _ in self._threads.map(self._file, filed):
                pass  # the item comes last, so that whoever finds it finds every part
        item = self._items(goal_id, PLAN, parts=inline, digest=digest, expires=self._clock() + self._lifetime)
        try:
            item.save(PlanItem.pk.does_not_exist())
        except PutError as error:
            if condition_failed(error):
                return False
            raise
        return True

    def read(self, goal_id: str) -> SegmentedPlan:
        """Raises NotFound."""
        with self._lock:
            if goal_id in self._plans:
                self._plans.move_to_end(goal_id)
                return self._plans[goal_id]
        plan = self._open(self._find(goal_id))
        with self._lock:
            self._plans[goal_id] = plan
            while len(self._plans) > self._kept:
                self._plans.popitem(last=False)
        return plan

    def _find(self, goal_id: str) -> PlanItem:
        """An eventually consistent read costs half and nearly always finds it; the consistent one knows."""
        for consistent in (False, True):
            try:
                return self._items.get(goal_id, PLAN, consistent_read=consistent)
            except DoesNotExist:
                continue
        raise NotFound(f"there is no plan of goal {goal_id}")

    def _open(self, item: PlanItem) -> SegmentedPlan:
        parts, prefix = item.parts, f"plans/{item.pk}/{item.digest}/"

        def fetch(name: str) -> bytes:
            if name in parts:
                return parts[name]
            return self._s3.get_object(Bucket=self._bucket, Key=prefix + name)["Body"].read()

        return SegmentedPlan(fetch)

    def _file(self, part: tuple[str, bytes]) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=part[0], Body=part[1], ContentType="application/gzip")


def _digest(plan: EncodedPlan) -> str:
    digest = hashlib.sha256()
    for name, part in plan.parts.items():
        digest.update(name.encode() + b"\0" + part)
    return digest.hexdigest()[:16]
