"""FleetClient and AsyncFleetClient: the API's calls as methods that give typed views."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from agentfleet.domain.goal import GoalState
from agentfleet.domain.result import TaskState
from agentfleet.domain.task import GoalRequest
from agentfleet.services import audit_views, fleet_views, goal_views, health_views, routing_views, views
from agentfleet.services import knowledge_views as known
from client import calls
from client.errors import WaitTimeout
from client.files import AsyncUploading, Uploading
from client.governance import AsyncGoverning, Governing
from client.memory import AsyncRemembering, Remembering
from client.retries import rhythm

Submission = GoalRequest | Mapping[str, Any]
Progress = Callable[[goal_views.GoalView], None]


def _late(goal: goal_views.GoalView, timeout: float) -> WaitTimeout:
    return WaitTimeout(f"goal {goal.id} is still {goal.state} after {timeout:g} s; it goes on")


class FleetClient(Governing, Remembering, Uploading):
    """The API, one call at a time: `FleetClient()`, or with a ClientConfig or a mapping of its fields.

    Every method raises ApiUnreachable, or the FleetApiError that fits the answer.
    """

    def submit(self, goal: Submission, *, key: str | None = None) -> goal_views.GoalView:
        """Submit a goal, once even if the request is sent twice. The same `key` again gives the same goal."""
        return self.run(calls.submit_goal(goal, key))

    def goals(self, state: GoalState | None = None, limit: int | None = None, cursor: str | None = None) -> goal_views.GoalPage:
        """Goals, newest first."""
        return self.run(calls.list_goals(state, limit, cursor))

    def goal(self, goal_id: str) -> goal_views.GoalView:
        """A goal and its progress."""
        return self.run(calls.get_goal(goal_id))

    def tasks(
        self, goal_id: str, state: TaskState | None = None, limit: int | None = None, cursor: str | None = None
    ) -> goal_views.TaskPage:
        """One page of a goal's tasks."""
        return self.run(calls.list_tasks(goal_id, state, limit, cursor))

    def all_tasks(self, goal_id: str, state: TaskState | None = None) -> Iterator[goal_views.TaskView]:
        """Every task of a goal, page by page."""
        cursor = None
        while True:
            page = self.tasks(goal_id, state, cursor=cursor)
            yield from page.tasks
            if (cursor := page.cursor) is None:
                return

    def task(self, goal_id: str, task_id: str) -> goal_views.TaskDetail:
        """A task with its input and output."""
        detail = self.run(calls.get_task(f"{goal_id}.{task_id}"))
        if detail.output_url:
            return detail.model_copy(update={"output": self.fetch_json(detail.output_url)})
        return detail

    def result(self, goal_id: str) -> goal_views.GoalResult:
        """What came of a goal. Raises ConflictError while it runs."""
        result = self.run(calls.get_result(goal_id))
        if result.output_url:
            return result.model_copy(update={"output": self.fetch_json(result.output_url)})
        return result

    def wait(self, goal_id: str, *, timeout: float | None = None, progress: Progress | None = None) -> goal_views.GoalResult:
        """Wait for a goal's end. Raises WaitTimeout after `timeout` seconds; the goal goes on then."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for pause in rhythm():
            goal = self.goal(goal_id)
            if progress:
                progress(goal)
            if goal.state.is_at_rest:
                break
            if deadline is not None and timeout is not None and time.monotonic() >= deadline:
                raise _late(goal, timeout)
            self.sleep(pause)
        return self.result(goal_id)

    def download(self, file: goal_views.FileView) -> bytes:
        """A file's content."""
        return self.fetch(file.url)

    def history(self, goal_id: str, limit: int | None = None, cursor: str | None = None) -> audit_views.HistoryPage:
        """One page of what happened to a goal."""
        return self.run(calls.get_history(goal_id, limit, cursor))

    def verify(self, goal_id: str) -> audit_views.VerdictView:
        """Whether a goal's history is as it was recorded."""
        return self.run(calls.verify_history(goal_id))

    def receipt(self, goal_id: str) -> audit_views.ReceiptView:
        """What a goal has cost."""
        return self.run(calls.get_receipt(goal_id))

    def cancel(self, goal_id: str) -> goal_views.GoalView:
        """Cancel a goal. Raises ConflictError if it ended otherwise."""
        return self.run(calls.cancel_goal(goal_id))

    def pause(self, goal_id: str) -> goal_views.GoalView:
        """Hold a running goal's tasks back; what runs is finished."""
        return self.run(calls.pause_goal(goal_id))

    def resume(self, goal_id: str) -> goal_views.GoalView:
        """Let a paused goal go on."""
        return self.run(calls.resume_goal(goal_id))

    def compensate(self, goal_id: str) -> goal_views.GoalView:
        """Go on undoing a goal whose compensation failed. Raises ConflictError for one that needs no undoing."""
        return self.run(calls.compensate_goal(goal_id))

    def fork(
        self,
        goal_id: str,
        keep: Sequence[str] = ("*",),
        changes: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        key: str | None = None,
    ) -> goal_views.GoalView:
        """Run a goal again, as a new one, from the results of the tasks whose ids match `keep`.

        `changes`: task id → dotted path inside its input → new value; those tasks and all that depend on them run again.
        """
        return self.run(calls.fork_goal(goal_id, keep, changes or {}, key))

    def agents(self, capability: str | None = None, pool: str | None = None) -> Sequence[fleet_views.AgentView]:
        """Living agents."""
        return self.run(calls.list_agents(capability, pool)).agents

    def pools(self) -> Sequence[fleet_views.PoolView]:
        """Every pool, by name."""
        return self.run(calls.list_pools()).pools

    def pool(self, name: str) -> fleet_views.PoolView:
        """One pool."""
        return self.run(calls.get_pool(name))

    def scale_pool(self, name: str, concurrency: int) -> fleet_views.PoolView:
        """Change a pool's concurrency; `settled` tells when it holds."""
        return self.run(calls.scale_pool(name, concurrency))

    def drain_pool(self, name: str) -> fleet_views.PoolView:
        """Let a pool get no new work where another offers the same."""
        return self.run(calls.drain_pool(name))

    def undrain_pool(self, name: str) -> fleet_views.PoolView:
        """Let a pool get work again."""
        return self.run(calls.undrain_pool(name))

    def discover(self, capability: str) -> Sequence[routing_views.OfferView]:
        """The pools that offer a capability, those that get most of its new work first."""
        return self.run(calls.discover(capability)).offers

    def logs(self, pool: str, minutes: int | None = None, limit: int | None = None) -> Sequence[fleet_views.LogLine]:
        """A pool's newest log lines, oldest first."""
        return self.run(calls.get_logs(pool, minutes, limit)).lines

    def spawn_fleet(self, size: int, capabilities: Sequence[str] | None = None) -> fleet_views.FleetView:
        """Size pools for a purpose; `ready` tells when it holds."""
        return self.run(calls.spawn_fleet(size, capabilities))

    def fleets(self) -> Sequence[fleet_views.FleetView]:
        """Fleets that have not been released."""
        return self.run(calls.list_fleets()).fleets

    def fleet(self, fleet_id: str) -> fleet_views.FleetView:
        """One fleet."""
        return self.run(calls.get_fleet(fleet_id))

    def resize_fleet(self, fleet_id: str, size: int) -> fleet_views.FleetView:
        """Change a fleet's size."""
        return self.run(calls.resize_fleet(fleet_id, size))

    def release_fleet(self, fleet_id: str) -> fleet_views.FleetView:
        """Give its pools back what they had."""
        return self.run(calls.release_fleet(fleet_id))

    def playbooks(self) -> Sequence[goal_views.PlaybookView]:
        """Every playbook."""
        return self.run(calls.list_playbooks()).playbooks

    def playbook(self, name: str) -> goal_views.PlaybookDetail:
        """A playbook with its plan."""
        return self.run(calls.get_playbook(name))

    def documents(self, domain: str | None = None) -> Sequence[known.DocumentView]:
        """Documents, newest first."""
        return self.run(calls.list_documents(domain)).documents

    def search(self, query: str, domains: Sequence[str] | None = None, limit: int | None = None) -> known.FindingList:
        """Pieces of documents that match the query, best first, in these domains or all."""
        return self.run(calls.search_documents(query, domains, limit))

    def ask(self, question: str, domains: Sequence[str] | None = None) -> known.AnswerView:
        """An answer from documents, with citations."""
        return self.run(calls.ask_documents(question, domains))

    def add_document(self, order: known.DocumentOrder | Mapping[str, Any]) -> known.DocumentView:
        """Keep a document (a DocumentOrder, or `{"title": …, "text": …}`); comes back when all of it is indexed."""
        kept = self.run(calls.add_document(order))
        while kept.indexed < kept.chunks:
            kept = self.run(calls.add_document(order))
        return kept

    def delete_document(self, domain: str, document_id: str) -> None:
        """Forget a document. Raises NotFoundError."""
        self.run(calls.delete_document(domain, document_id))

    def heal(self) -> health_views.HealView:
        """Run the healer now."""
        return self.run(calls.heal())

    def incidents(self) -> health_views.IncidentSummary:
        """Goals that stood still, and how they were healed."""
        return self.run(calls.get_incidents())

    def dead_letters(
        self, pool: str | None = None, limit: int | None = None, key: str | None = None
    ) -> health_views.DeadLetterList:
        """Messages that their queues have given up, each with its diagnosis; only a task's with its `key`."""
        return self.run(calls.list_dead_letters(pool, limit, key))

    def redrive(self, pool: str, key: str | None = None) -> health_views.DeadLetterList:
        """Send a dead letter's task again, or all that can run. Gives those that were, and whether there are others."""
        return self.run(calls.redrive_dead_letters(pool, key))

    def bury(self, pool: str, key: str, reason: str) -> health_views.DeadLetterView:
        """Take a dead letter out of its queue; what it was is kept with the reason."""
        return self.run(calls.bury_dead_letter(pool, key, reason))

    def health(self) -> views.HealthView:
        """Does the API answer?"""
        return self.run(calls.get_health())


class AsyncFleetClient(AsyncGoverning, AsyncRemembering, AsyncUploading):
    """The same for asyncio: every method is a coroutine with FleetClient's parameters, results and errors."""

    async def submit(self, goal: Submission, *, key: str | None = None) -> goal_views.GoalView:
        """Submit a goal, once even if the request is sent twice. The same `key` again gives the same goal."""
        return await self.run(calls.submit_goal(goal, key))

    async def goals(
        self, state: GoalState | None = None, limit: int | None = None, cursor: str | None = None
    ) -> goal_views.GoalPage:
        """Goals, newest first."""
        return await self.run(calls.list_goals(state, limit, cursor))

    async def goal(self, goal_id: str) -> goal_views.GoalView:
        """A goal and its progress."""
        return await self.run(calls.get_goal(goal_id))

    async def tasks(
        self, goal_id: str, state: TaskState | None = None, limit: int | None = None, cursor: str | None = None
    ) -> goal_views.TaskPage:
        """One page of a goal's tasks."""
        return await self.run(calls.list_tasks(goal_id, state, limit, cursor))

    async def all_tasks(self, goal_id: str, state: TaskState | None = None) -> AsyncIterator[goal_views.TaskView]:
        """Every task of a goal, page by page."""
        cursor = None
        while True:
            page = await self.tasks(goal_id, state, cursor=cursor)
            for task in page.tasks:
                yield task
            if (cursor := page.cursor) is None:
                return

    async def task(self, goal_id: str, task_id: str) -> goal_views.TaskDetail:
        """A task with its input and output."""
        detail = await self.run(calls.get_task(f"{goal_id}.{task_id}"))
        if detail.output_url:
            return detail.model_copy(update={"output": await self.fetch_json(detail.output_url)})
        return detail

    async def result(self, goal_id: str) -> goal_views.GoalResult:
        """What came of a goal. Raises ConflictError while it runs."""
        result = await self.run(calls.get_result(goal_id))
        if result.output_url:
            return result.model_copy(update={"output": await self.fetch_json(result.output_url)})
        return result

    async def wait(
        self, goal_id: str, *, timeout: float | None = None, progress: Progress | None = None
    ) -> goal_views.GoalResult:
        """Wait for a goal's end. Raises WaitTimeout after `timeout` seconds; the goal goes on then."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for pause in rhythm():
            goal = await self.goal(goal_id)
            if progress:
                progress(goal)
            if goal.state.is_at_rest:
                break
            if deadline is not None and timeout is not None and time.monotonic() >= deadline:
                raise _late(goal, timeout)
            await self.sleep(pause)
        return await self.result(goal_id)

    async def download(self, file: goal_views.FileView) -> bytes:
        """A file's content."""
        return await self.fetch(file.url)

    async def history(self, goal_id: str, limit: int | None = None, cursor: str | None = None) -> audit_views.HistoryPage:
        """One page of what happened to a goal."""
        return await self.run(calls.get_history(goal_id, limit, cursor))

    async def verify(self, goal_id: str) -> audit_views.VerdictView:
        """Whether a goal's history is as it was recorded."""
        return await self.run(calls.verify_history(goal_id))

    async def receipt(self, goal_id: str) -> audit_views.ReceiptView:
        """What a goal has cost."""
        return await self.run(calls.get_receipt(goal_id))

    async def cancel(self, goal_id: str) -> goal_views.GoalView:
        """Cancel a goal. Raises ConflictError if it ended otherwise."""
        return await self.run(calls.cancel_goal(goal_id))

    async def pause(self, goal_id: str) -> goal_views.GoalView:
        """Hold a running goal's tasks back; what runs is finished."""
        return await self.run(calls.pause_goal(goal_id))

    async def resume(self, goal_id: str) -> goal_views.GoalView:
        """Let a paused goal go on."""
        return await self.run(calls.resume_goal(goal_id))

    async def compensate(self, goal_id: str) -> goal_views.GoalView:
        """Go on undoing a goal whose compensation failed. Raises ConflictError for one that needs no undoing."""
        return await self.run(calls.compensate_goal(goal_id))

    async def fork(
        self,
        goal_id: str,
        keep: Sequence[str] = ("*",),
        changes: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        key: str | None = None,
    ) -> goal_views.GoalView:
        """Run a goal again, as a new one, from the results of the tasks whose ids match `keep`.

        `changes`: task id → dotted path inside its input → new value; those tasks and all that depend on them run again.
        """
        return await self.run(calls.fork_goal(goal_id, keep, changes or {}, key))

    async def agents(self, capability: str | None = None, pool: str | None = None) -> Sequence[fleet_views.AgentView]:
        """Living agents."""
        return (await self.run(calls.list_agents(capability, pool))).agents

    async def pools(self) -> Sequence[fleet_views.PoolView]:
        """Every pool, by name."""
        return (await self.run(calls.list_pools())).pools

    async def pool(self, name: str) -> fleet_views.PoolView:
        """One pool."""
        return await self.run(calls.get_pool(name))

    async def scale_pool(self, name: str, concurrency: int) -> fleet_views.PoolView:
        """Change a pool's concurrency; `settled` tells when it holds."""
        return await self.run(calls.scale_pool(name, concurrency))

    async def drain_pool(self, name: str) -> fleet_views.PoolView:
        """Let a pool get no new work where another offers the same."""
        return await self.run(calls.drain_pool(name))

    async def undrain_pool(self, name: str) -> fleet_views.PoolView:
        """Let a pool get work again."""
        return await self.run(calls.undrain_pool(name))

    async def discover(self, capability: str) -> Sequence[routing_views.OfferView]:
        """The pools that offer a capability, those that get most of its new work first."""
        return (await self.run(calls.discover(capability))).offers

    async def logs(self, pool: str, minutes: int | None = None, limit: int | None = None) -> Sequence[fleet_views.LogLine]:
        """A pool's newest log lines, oldest first."""
        return (await self.run(calls.get_logs(pool, minutes, limit))).lines

    async def spawn_fleet(self, size: int, capabilities: Sequence[str] | None = None) -> fleet_views.FleetView:
        """Size pools for a purpose; `ready` tells when it holds."""
        return await self.run(calls.spawn_fleet(size, capabilities))

    async def fleets(self) -> Sequence[fleet_views.FleetView]:
        """Fleets that have not been released."""
        return (await self.run(calls.list_fleets())).fleets

    async def fleet(self, fleet_id: str) -> fleet_views.FleetView:
        """One fleet."""
        return await self.run(calls.get_fleet(fleet_id))

    async def resize_fleet(self, fleet_id: str, size: int) -> fleet_views.FleetView:
        """Change a fleet's size."""
        return await self.run(calls.resize_fleet(fleet_id, size))

    async def release_fleet(self, fleet_id: str) -> fleet_views.FleetView:
        """Give its pools back what they had."""
        return await self.run(calls.release_fleet(fleet_id))

    async def playbooks(self) -> Sequence[goal_views.PlaybookView]:
        """Every playbook."""
        return (await self.run(calls.list_playbooks())).playbooks

    async def playbook(self, name: str) -> goal_views.PlaybookDetail:
        """A playbook with its plan."""
        return await self.run(calls.get_playbook(name))

    async def documents(self, domain: str | None = None) -> Sequence[known.DocumentView]:
        """Documents, newest first."""
        return (await self.run(calls.list_documents(domain))).documents

    async def search(self, query: str, domains: Sequence[str] | None = None, limit: int | None = None) -> known.FindingList:
        """Pieces of documents that match the query, best first, in these domains or all."""
        return await self.run(calls.search_documents(query, domains, limit))

    async def ask(self, question: str, domains: Sequence[str] | None = None) -> known.AnswerView:
        """An answer from documents, with citations."""
        return await self.run(calls.ask_documents(question, domains))

    async def add_document(self, order: known.DocumentOrder | Mapping[str, Any]) -> known.DocumentView:
        """Keep a document (a DocumentOrder, or `{"title": …, "text": …}`); comes back when all of it is indexed."""
        kept = await self.run(calls.add_document(order))
        while kept.indexed < kept.chunks:
            kept = await self.run(calls.add_document(order))
        return kept

    async def delete_document(self, domain: str, document_id: str) -> None:
        """Forget a document. Raises NotFoundError."""
        await self.run(calls.delete_document(domain, document_id))

    async def heal(self) -> health_views.HealView:
        """Run the healer now."""
        return await self.run(calls.heal())

    async def incidents(self) -> health_views.IncidentSummary:
        """Goals that stood still, and how they were healed."""
        return await self.run(calls.get_incidents())

    async def dead_letters(
        self, pool: str | None = None, limit: int | None = None, key: str | None = None
    ) -> health_views.DeadLetterList:
        """Messages that their queues have given up, each with its diagnosis; only a task's with its `key`."""
        return await self.run(calls.list_dead_letters(pool, limit, key))

    async def redrive(self, pool: str, key: str | None = None) -> health_views.DeadLetterList:
        """Send a dead letter's task again, or all that can run. Gives those that were, and whether there are others."""
        return await self.run(calls.redrive_dead_letters(pool, key))

    async def bury(self, pool: str, key: str, reason: str) -> health_views.DeadLetterView:
        """Take a dead letter out of its queue; what it was is kept with the reason."""
        return await self.run(calls.bury_dead_letter(pool, key, reason))

    async def health(self) -> views.HealthView:
        """Does the API answer?"""
        return await self.run(calls.get_health())
