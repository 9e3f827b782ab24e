"""What a goal has cost, from its plan, its results' history and the rules of billing. Says what is counted and what is not.

Counted are facts that the history holds of every write. Estimated is what nobody records, for recording it would cost more than
it costs itself: how messages met in batches, which reads a batch made. `batches` and the joins' writes follow from when each
agent worked; they lean on the platform's own rules (ten messages a request, one read of the goal per batch).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from msgspec import Struct

from agentfleet.domain.catalog import Catalog
from agentfleet.domain.history import APPROVALS, ENDED, Event, EventKind, moves_head
from agentfleet.domain.model_use import ModelUse
from agentfleet.domain.plan import CompiledPlan, Range, count, expand
from agentfleet.domain.prices import PriceTable

SQS_BATCH: Final = 10
"""Messages that one request carries (SQS API reference, SendMessageBatch)."""
POLL_REQUESTS: Final = 2
"""A poller's own requests per invocation: one ReceiveMessage, one DeleteMessageBatch."""
RETRY_REQUESTS: Final = 3
FAN_OUT: Final = 500
"""Units that one worker sends itself (services/release.py)."""
SAME_BATCH: Final = 2_000
"""µs: work that begins so soon after other work of its agent ended came with it."""
OVERHEAD: Final = 0.03
"""Seconds of an invocation besides its tasks: reading, storing, releasing. `python -m bench.receipts` measured 24 to 44 ms, on
the emulator and a processor of its own; Lambda's at 512 MB is slower, its network nearer."""
ACCEPT_SECONDS: Final = 0.05
ACCEPT_TASK: Final = 70e-6
"""Seconds that a submission takes longer for each task, as measured there."""
ACCEPT_UNIT: Final = 250e-6
"""And for each message that it sends."""
GOAL_FRESH: Final = 1_000_000
"""µs for which an agent does not read a goal again (services/run.py)."""
RESULT_BYTES: Final = 120
"""About how large a result is, as far as the final tally's reads go."""
API_MEMORY: Final = 1024
"""MB of serve_api, release_tasks, accept_goals and compensate_goals alike."""
SAGA_TRANSITIONS: Final = 8
"""Of an execution of saga.asl.json besides its waves."""
WAVE_TRANSITIONS: Final = 4
UNDO_TRANSITIONS: Final = 2
MILLION: Final = 1e6


class Line(Struct, frozen=True):
    """One thing that is billed."""

    service: str
    what: str
    quantity: float
    unit: str
    dollars: float
    is_counted: bool
    how: str


class Batches(Struct, frozen=True):
    """The invocations that carried a goal's units, as far as times tell."""

    invocations: int
    gb_seconds: float
    joins: int
    """Updates of joins: one per join and batch that finished members of it."""
    sends: int
    """Requests that released what came next."""
    agents: int
    goal_reads: int


class Sizes(Struct, frozen=True):
    """Bytes of what is stored once per goal."""

    plan: int
    plan_is_inline: bool
    plan_parts: int
    goal: int


def find_batches(events: Sequence[Event], plan: CompiledPlan, catalog: Catalog) -> Batches:
    """Group results into invocations: what one agent did at one time, at most its pool's batch of it.

    What a fork took over was done and paid for elsewhere: here it is entered into its joins, and what follows it is sent.
    """
    by_agent: dict[str, list[Event]] = defaultdict(list)
    taken = [plan.unit(number) for number in sorted(_taken_over(events))]
    for event in events:
        if event.kind is EventKind.RESULT and "origin" not in event.facts and not event.facts["agent"].startswith("goal:"):
            by_agent[event.facts["agent"]].append(event)
    invocations = goal_reads = 0
    joins = len({join for unit in taken for join, _ in unit.joins})
    sends = _requests(len({number for unit in taken for number in expand(unit.releases)} - {unit.number for unit in taken}))
    gb_seconds = 0.0
    for agent, done in by_agent.items():
        pool = catalog.pools.get(agent.rpartition("-")[0])
        read: int | None = None
        for part in _together(sorted(done, key=lambda event: int(event.facts["started"])), pool.batch if pool else SQS_BATCH):
            invocations += 1
            begin = min(int(event.facts["started"]) for event in part)
            if read is None or begin - read >= GOAL_FRESH:
                goal_reads, read = goal_reads + 1, begin
            end = max(_end(event) for event in part)
            gb_seconds += ((end - begin) / 1e6 + OVERHEAD) * (pool.memory if pool else API_MEMORY) / 1024
            units = [plan.unit(int(event.facts["unit"])) for event in part]
            joins += len({join for unit in units for join, _ in unit.joins})
            sends += _requests(count(unit_range for unit in units for unit_range in unit.releases))
    return Batches(invocations, gb_seconds, joins, sends, len(by_agent), goal_reads)


def _taken_over(events: Iterable[Event]) -> frozenset[int]:
    """The units whose results a fork took over."""
    return frozenset(int(event.facts["unit"]) for event in events if event.kind is EventKind.RESULT and "origin" in event.facts)


def _left(ranges: Sequence[Range], taken: AbstractSet[int]) -> int:
    """How many units of these were still to be sent."""
    return sum(number not in taken for number in expand(ranges)) if taken else count(ranges)


def _end(event: Event) -> int:
    return int(event.facts["started"]) + round(float(event.facts["seconds"]) * 1e6)


def _together(events: Sequence[Event], limit: int) -> list[list[Event]]:
    parts: list[list[Event]] = []
    end = 0
    for event in events:
        if parts and int(event.facts["started"]) <= end + SAME_BATCH and len(parts[-1]) < limit:
            parts[-1].append(event)
        else:
            parts.append([event])
        end = max(end, _end(event))
    return parts


def _requests(units: int) -> int:
    """SendMessageBatch requests for so many units; a wide release goes through the release queue in parts."""
    parts = -(-units // FAN_OUT) if units > FAN_OUT else 0
    return -(-units // SQS_BATCH) + -(-parts // SQS_BATCH)


def _spread(units: int) -> int:
    """Invocations of release_tasks that a release of so many units takes."""
    return -(-units // (FAN_OUT * SQS_BATCH)) if units > FAN_OUT else 0


def price_goal(
    events: Sequence[Event],
    segments: Sequence[int],
    plan: CompiledPlan,
    sizes: Sizes,
    catalog: Catalog,
    prices: PriceTable,
    *,
    results_counted: bool = True,
    is_sub_plan: bool = False,
    sagas: int = 0,
) -> tuple[Line, ...]:
    """The receipt's lines. `segments` are the bytes of the history's own items; nobody submits a sub-plan or hears of it.

    `sagas` is how often undoing it was begun. Without `results_counted` some events stand for results that the history lacks,
    and their sizes are estimated.
    """
    batches = find_batches(events, plan, catalog)
    taken = _taken_over(events)
    wide = [_left(ranges, taken) for ranges in (plan.header.roots, *(join.releases for join in plan.joins))]
    released = sum(map(_requests, wide)) + batches.sends
    spread = sum(map(_spread, wide))
    invocations = batches.invocations + spread
    written = sum(int(event.facts["writes"]) for event in events if event.kind not in APPROVALS)
    plan_writes = -(-(sizes.plan if sizes.plan_is_inline else 200) // 1024)
    results = sum(event.kind is EventKind.RESULT for event in events)
    claimed = sum(not _is_idempotent(unit.capability, catalog) for unit in plan.units if unit.number not in taken)
    history = _history(events, segments)
    retries = sum(
        int(event.facts.get("attempt", 1)) - 1
        for event in events
        if event.kind is EventKind.RESULT and "origin" not in event.facts
    )
    submitted = 0 if is_sub_plan else 1
    sent_at_once = min(FAN_OUT, wide[0])
    accept_seconds = (ACCEPT_SECONDS + ACCEPT_TASK * plan.header.tasks + ACCEPT_UNIT * sent_at_once) * submitted
    filed = sum(bool(event.facts.get("filed")) for event in events)
    ends = sum(event.kind is EventKind.MOVED and bool(event.facts.get(ENDED)) for event in events)
    return (
        _line("DynamoDB", "goal and results", written, "write units", prices.write_units, "their items' sizes",
              counted=results_counted),
        _line("DynamoDB", "plan", plan_writes, "write units", prices.write_units, "size of the stored plan", counted=True),
        _line("DynamoDB", "history", history.writes, "write units", prices.write_units, "sizes of its items", counted=True),
        _line("DynamoDB", "history, read", history.reads, "read units", prices.read_units, "its head and end, once a segment"),
        _line("DynamoDB", "joins, claims, agents", batches.joins + claimed + batches.agents, "write units", prices.write_units,
              "one per join and batch, per claimed unit, per agent seen"),
        _line("DynamoDB", "reads", _reads(plan, sizes, batches, results, taken), "read units", prices.read_units,
              "the goal per agent and second and at its end, the plan per agent, each reference, the final tally"),
        _line("SQS", "messages sent", released, "requests", prices.requests_sqs, "ten messages a request, by the plan"),
        _line("SQS", "polling", POLL_REQUESTS * invocations, "requests", prices.requests_sqs, "two per invocation"),
        _line("SQS", "attempts that failed", RETRY_REQUESTS * retries, "requests", prices.requests_sqs,
              "at most: received, sent again and deleted, each alone; throttled receives count too"),
        _line("Lambda", "invocations", invocations + submitted, "requests", prices.requests_lambda,
              "work of one agent at one time is one; and the submission"),
        Line("Lambda", "time", round(batches.gb_seconds + (accept_seconds + spread) * API_MEMORY / 1024, 6), "GB-seconds",
             (batches.gb_seconds + (accept_seconds + spread) * API_MEMORY / 1024) * prices.gb_second_arm, False,
             f"the tasks' own times, by the pools' memory, and {OVERHEAD * 1000:g} ms per invocation"),
        _line("S3", "outputs over 4 KB", filed, "PUT requests", prices.requests_s3_put, "results with a file", counted=True),
        _line("S3", "plan in parts", 0 if sizes.plan_is_inline else sizes.plan_parts, "PUT requests", prices.requests_s3_put,
              "parts of the stored plan", counted=True),
        _line("EventBridge", "goal events", (1 + ends) * submitted, "events", prices.requests_events,
              "accepted and ended", counted=True),
        _line("API Gateway", "submission", submitted, "requests", prices.requests_http, "one POST"),
        *_asking(events, prices),
        *_undoing(events, sagas, catalog, prices),
    )  # fmt: skip


def _asking(events: Sequence[Event], prices: PriceTable) -> tuple[Line, ...]:
    """What requests for approval took; nothing where there were none. What expires is removed for nothing."""
    written = [event for event in events if event.kind in {EventKind.ASKED, EventKind.DECIDED}]
    if not written:
        return ()
    writes = sum(int(event.facts["writes"]) for event in written)
    return (_line("DynamoDB", "approvals", writes, "write units", prices.write_units,
                  "requests and decisions by their sizes, each with its copy in a transaction"),)  # fmt: skip


def _undoing(events: Sequence[Event], sagas: int, catalog: Catalog, prices: PriceTable) -> tuple[Line, ...]:
    """What compensations took besides their results, which are written like those of tasks; nothing where there were none."""
    done = [event for event in events if event.kind is EventKind.COMPENSATED]
    if not done and not sagas:
        return ()
    waves = _count_waves(done)
    looks = waves + sagas
    transitions = SAGA_TRANSITIONS * sagas + WAVE_TRANSITIONS * waves + UNDO_TRANSITIONS * len(done)
    gb_seconds = looks * OVERHEAD * API_MEMORY / 1024
    for event in done:
        pool = catalog.pools.get(str(event.facts["agent"]).rpartition("-")[0])
        gb_seconds += (float(event.facts["seconds"]) + OVERHEAD) * (pool.memory if pool else API_MEMORY) / 1024
    return (
        _line("DynamoDB", "compensations' claims", len(done), "write units", prices.write_units, "one per compensation"),
        _line("SQS", "compensations", (1 + POLL_REQUESTS) * len(done), "requests", prices.requests_sqs,
              "each sent and received alone"),
        _line("Lambda", "compensations", len(done) + looks, "requests", prices.requests_lambda,
              "one per compensation, one per wave and saga to see what is left"),
        Line("Lambda", "compensations' time", round(gb_seconds, 6), "GB-seconds", gb_seconds * prices.gb_second_arm, False,
             f"their own times, by the pools' memory, and {OVERHEAD * 1000:g} ms per invocation"),
        _line("Step Functions", "sagas", transitions, "transitions", prices.transitions,
              "by sagas, compensations, and waves as far as times tell them"),
    )  # fmt: skip


def _count_waves(done: Iterable[Event]) -> int:
    """A wave begins when all of the one before have ended."""
    waves, over = 0, -1
    for event in sorted(done, key=lambda one: int(one.facts["started"])):
        waves += int(event.facts["started"]) >= over
        over = max(over, _end(event))
    return waves


class _History(Struct, frozen=True):
    writes: int
    reads: int


def _history(events: Sequence[Event], segments: Sequence[int]) -> _History:
    """What recording took: a write per segment, and of the head at its beginning and at the goal's end."""
    if not segments:
        return _History(0, 0)
    moves = sum(map(moves_head, events))
    writes = sum(-(-size // 1024) for size in segments) + 1 + min(moves, len(segments))
    return _History(writes, sum(1 + -(-size // 4096) for size in segments))


def _reads(plan: CompiledPlan, sizes: Sizes, batches: Batches, results: int, taken: AbstractSet[int]) -> float:
    references = sum(
        len({place[0] for task in unit.tasks for places in task.sources.values() for place in places})
        for unit in plan.units
        if unit.number not in taken
    )
    goal = max(1, -(-sizes.goal // 4096))
    plans = batches.agents * max(1, -(-sizes.plan // 4096))
    output = len({place[0] for places in plan.header.sources.values() for place in places})
    tally = max(plan.header.shards, -(-results * RESULT_BYTES // 4096))  # of whole partitions
    copied = 2 * len(taken)  # looked for, and read
    return float((batches.goal_reads + 1) * goal + plans + references + output + tally + copied)


def _is_idempotent(capability: str, catalog: Catalog) -> bool:
    return all(spec.idempotent for spec in catalog.capabilities.get(capability, ()))


def _line(service: str, what: str, quantity: float, unit: str, per_million: float, how: str, *, counted: bool = False) -> Line:
    return Line(service, what, quantity, unit, quantity * per_million / MILLION, counted, how)


def model_line(use: ModelUse) -> Line:
    """The line of a language model: what its calls took, as they were settled one by one."""
    parts = [f"{use.input:,} in", f"{use.output:,} out"]
    if use.cache_read or use.cache_write:
        parts.append(f"{use.cache_read:,} read from and {use.cache_write:,} written to its prompt cache")
    calls = f"{use.calls:,} call{'' if use.calls == 1 else 's'}"
    unknown = f", {use.unknown:,} of unknown cost counted at most" if use.unknown else ""
    how = f"{calls}{unknown}: {', '.join(parts)}; sub-plans included"
    service = "Local model" if use.model.startswith("local/") else "Bedrock"
    return Line(service, use.model, use.tokens, "tokens", use.dollars, not use.unknown, how)


def total(lines: Iterable[Line]) -> Mapping[str, float]:
    """Dollars altogether, and of counted lines."""
    found = list(lines)
    return {"all": sum(line.dollars for line in found), "counted": sum(line.dollars for line in found if line.is_counted)}
