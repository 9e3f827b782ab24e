"""The clients' calls about what agents remember."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from agentfleet.services import memory_views as views
from client.calls import Call, _get, _json, _nothing, _send, _step
from client.connection import AsyncConnection, Connection

Messages = Sequence[Mapping[str, Any]]


def list_facts(agent: str | None, query: str, limit: int | None) -> Call[views.FactList]:
    """Facts."""
    return _get("/memory/facts", views.FactList, agent=agent, query=query or None, limit=limit)


def add_fact(text: str, about: str, agent: str) -> Call[views.FactView]:
    """Again it is the same fact."""
    return _send("POST", "/memory/facts", views.FactView, _json({"text": text, "about": about, "agent": agent}))


def get_fact(agent: str, fact_id: str) -> Call[views.FactView]:
    """One fact."""
    return _get(f"/memory/facts/{_step(agent)}/{_step(fact_id)}", views.FactView)


def forget_fact(agent: str, fact_id: str) -> Call[None]:
    """Forget a fact."""
    return Call("DELETE", f"/memory/facts/{_step(agent)}/{_step(fact_id)}", _nothing)


def list_sessions(limit: int | None, cursor: str | None) -> Call[views.SessionPage]:
    """One page of conversations."""
    return _get("/memory/sessions", views.SessionPage, limit=limit, cursor=cursor)


def get_session(session_id: str) -> Call[views.SessionDetail]:
    """A conversation."""
    return _get(f"/memory/sessions/{_step(session_id)}", views.SessionDetail)


def add_turn(session_id: str, messages: Messages, key: str | None) -> Call[views.SessionView]:
    """A key is made if none is given, so that a turn that is sent twice is one."""
    body, headers = _json({"messages": [dict(one) for one in messages]}), {"idempotency-key": key or secrets.token_hex(16)}
    return _send("POST", f"/memory/sessions/{_step(session_id)}", views.SessionView, body, headers=headers)


def forget_session(session_id: str) -> Call[None]:
    """Forget a conversation."""
    return Call("DELETE", f"/memory/sessions/{_step(session_id)}", _nothing)


def list_episodes(limit: int | None) -> Call[views.EpisodeList]:
    """What became of goals in words."""
    return _get("/memory/episodes", views.EpisodeList, limit=limit)


def get_episode(goal_id: str) -> Call[views.EpisodeDetail]:
    """One, with its plan."""
    return _get(f"/memory/episodes/{_step(goal_id)}", views.EpisodeDetail)


def forget_episode(goal_id: str) -> Call[None]:
    """Forget one."""
    return Call("DELETE", f"/memory/episodes/{_step(goal_id)}", _nothing)


def list_figures() -> Call[views.FigureList]:
    """What tasks took."""
    return _get("/memory/figures", views.FigureList)


def forget_everything() -> Call[views.ForgottenView]:
    """Again it finds nothing left."""
    return Call("DELETE", "/memory", views.ForgottenView.model_validate_json)


class Remembering(Connection):
    """What FleetClient can do about memory."""

    def facts(self, agent: str | None = None, query: str = "", limit: int | None = None) -> tuple[views.FactView, ...]:
        """What agents know, the strongest first, or what answers a query."""
        return self.run(list_facts(agent, query, limit)).facts

    def remember(self, text: str, about: str = "", agent: str = "shared") -> views.FactView:
        """Have agents remember a fact: all of them, or the one that is named."""
        return self.run(add_fact(text, about, agent))

    def fact(self, agent: str, fact_id: str) -> views.FactView:
        """One fact."""
        return self.run(get_fact(agent, fact_id))

    def forget_fact(self, agent: str, fact_id: str) -> None:
        """Have an agent forget a fact."""
        self.run(forget_fact(agent, fact_id))

    def sessions(self, limit: int | None = None, cursor: str | None = None) -> views.SessionPage:
        """Conversations, by id."""
        return self.run(list_sessions(limit, cursor))

    def session(self, session_id: str) -> views.SessionDetail:
        """A conversation as agents go on from it."""
        return self.run(get_session(session_id))

    def add_turn(self, session_id: str, messages: Messages, key: str | None = None) -> views.SessionView:
        """Add messages (Converse's shape) to a conversation. The same `key` again adds nothing."""
        return self.run(add_turn(session_id, messages, key))

    def forget_session(self, session_id: str) -> None:
        """Forget a conversation."""
        self.run(forget_session(session_id))

    def episodes(self, limit: int | None = None) -> tuple[views.EpisodeView, ...]:
        """What became of goals in words, newest first."""
        return self.run(list_episodes(limit)).episodes

    def episode(self, goal_id: str) -> views.EpisodeDetail:
        """What became of a goal in words, with its plan."""
        return self.run(get_episode(goal_id))

    def forget_episode(self, goal_id: str) -> None:
        """Forget what became of a goal."""
        self.run(forget_episode(goal_id))

    def figures(self) -> tuple[views.FigureView, ...]:
        """What tasks took on average, by capability."""
        return self.run(list_figures()).figures

    def forget_everything(self) -> views.ForgottenView:
        """Forget all facts, conversations, episodes and figures of this tenant."""
        return self.run(forget_everything())


class AsyncRemembering(AsyncConnection):
    """What AsyncFleetClient can do about memory."""

    async def facts(self, agent: str | None = None, query: str = "", limit: int | None = None) -> tuple[views.FactView, ...]:
        """What agents know, the strongest first, or what answers a query."""
        return (await self.run(list_facts(agent, query, limit))).facts

    async def remember(self, text: str, about: str = "", agent: str = "shared") -> views.FactView:
        """Have agents remember a fact: all of them, or the one that is named."""
        return await self.run(add_fact(text, about, agent))

    async def fact(self, agent: str, fact_id: str) -> views.FactView:
        """One fact."""
        return await self.run(get_fact(agent, fact_id))

    async def forget_fact(self, agent: str, fact_id: str) -> None:
        """Have an agent forget a fact."""
        await self.run(forget_fact(agent, fact_id))

    async def sessions(self, limit: int | None = None, cursor: str | None = None) -> views.SessionPage:
        """Conversations, by id."""
        return await self.run(list_sessions(limit, cursor))

    async def session(self, session_id: str) -> views.SessionDetail:
        """A conversation as agents go on from it."""
        return await self.run(get_session(session_id))

    async def add_turn(self, session_id: str, messages: Messages, key: str | None = None) -> views.SessionView:
        """Add messages (Converse's shape) to a conversation. The same `key` again adds nothing."""
        return await self.run(add_turn(session_id, messages, key))

    async def forget_session(self, session_id: str) -> None:
        """Forget a conversation."""
        await self.run(forget_session(session_id))

    async def episodes(self, limit: int | None = None) -> tuple[views.EpisodeView, ...]:
        """What became of goals in words, newest first."""
        return (await self.run(list_episodes(limit))).episodes

    async def episode(self, goal_id: str) -> views.EpisodeDetail:
        """What became of a goal in words, with its plan."""
        return await self.run(get_episode(goal_id))

    async def forget_episode(self, goal_id: str) -> None:
        """Forget what became of a goal."""
        await self.run(forget_episode(goal_id))

    async def figures(self) -> tuple[views.FigureView, ...]:
        """What tasks took on average, by capability."""
        return (await self.run(list_figures())).figures

    async def forget_everything(self) -> views.ForgottenView:
        """Forget all facts, conversations, episodes and figures of this tenant."""
        return await self.run(forget_everything())
