"""Routes of what agents remember: facts, conversations, what became of goals in words. Each tenant sees its own."""

from agentfleet.routes import Cursor, Limit, Routes
from agentfleet.services import memory_views as views
from agentfleet.services.openapi import answers

import secrets
from typing import Annotated
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import Response, content_types
from aws_lambda_powertools.event_handler.openapi.params import Body, Header, Query

routes = Routes()

AgentQuery = Annotated[str | None, Query(max_length=64, description="Only this agent's; `shared`: what all of them recall")]
TurnKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]


@routes.get("/memory/facts", tags=["memory"], summary="What agents know, the strongest first", **answers())
def list_facts(
    agent: AgentQuery = None,
    query: Annotated[str, Query(max_length=1000, description="Only what it calls for, best first")] = "",
    limit: Limit = 50,
) -> views.FactList:
    """Forgotten ones are left out. Looking at facts makes them no stronger; recalling them in a task does."""
    found = routes.memory.facts(routes.tenant(), agent, query, limit)
    return views.FactList(facts=tuple(map(views.FactView.of, found)))


@routes.post(
    "/memory/facts", tags=["memory"], summary="Have agents remember a fact", **answers(success=201, description="Remembered")
)
def add_fact(order: Annotated[views.FactOrder, Body()]) -> Response[views.FactView]:
    """The same again is the same fact. Refused if it holds orders to a model; secrets in it are masked."""
    kept = routes.memory.add_fact(routes.tenant(), order.agent, order.text, order.about)
    return Response(201, content_type=content_types.APPLICATION_JSON, body=views.FactView.of(kept))


@routes.get("/memory/facts/<agent>/<fact_id>", tags=["memory"], summary="One fact", **answers(404))
def get_fact(agent: str, fact_id: str) -> views.FactView:
    """404 if it is forgotten."""
    return views.FactView.of(routes.memory.fact(routes.tenant(), agent, fact_id))


@routes.delete(
    "/memory/facts/<agent>/<fact_id>",
    tags=["memory"],
    summary="Have an agent forget a fact",
    **answers(404, success=204, description="Forgotten"),
)
def forget_fact(agent: str, fact_id: str) -> Response[None]:
    """404 if there is none."""
    routes.memory.forget_fact(routes.tenant(), agent, fact_id)
    return Response(204)


@routes.get("/memory/sessions", tags=["memory"], summary="Conversations, by id", **answers())
def list_sessions(limit: Limit = 50, cursor: Cursor = None) -> views.SessionPage:
    """Without their turns."""
    page = routes.memory.sessions(routes.tenant(), limit, cursor)
    return views.SessionPage(sessions=tuple(map(views.SessionView.of, page.items)), cursor=page.cursor)


@routes.get("/memory/sessions/<session_id>", tags=["memory"], summary="A conversation as agents go on from it", **answers(404))
def get_session(session_id: str) -> views.SessionDetail:
    """What was summarised stands in its first message."""
    head, messages = routes.memory.session(routes.tenant(), unquote(session_id))
    return views.SessionDetail(**views.SessionView.of(head).model_dump(), messages=tuple(messages))


@routes.post("/memory/sessions/<session_id>", tags=["memory"], summary="Add a turn to a conversation", **answers(503))
def add_turn(session_id: str, order: Annotated[views.TurnOrder, Body()], key: TurnKey = None) -> views.SessionView:
    """Begins the conversation if there is none by that id. The same Idempotency-Key again adds nothing."""
    head = routes.memory.add_turn(routes.tenant(), unquote(session_id), order.messages, key or secrets.token_hex(16))
    return views.SessionView.of(head)


@routes.delete(
    "/memory/sessions/<session_id>",
    tags=["memory"],
    summary="Forget a conversation",
    **answers(404, success=204, description="Forgotten"),
)
def forget_session(session_id: str) -> Response[None]:
    """With all its turns. 404 if there is none."""
    routes.memory.forget_session(routes.tenant(), unquote(session_id))
    return Response(204)


@routes.get("/memory/episodes", tags=["memory"], summary="What became of goals in words, newest first", **answers())
def list_episodes(limit: Limit = 50) -> views.EpisodeList:
    """The newest 200 are kept."""
    found = routes.memory.episodes(routes.tenant(), limit)
    return views.EpisodeList(episodes=tuple(map(views.EpisodeView.of, found)))


@routes.get("/memory/episodes/<goal_id>", tags=["memory"], summary="A goal in words, with the plan it got", **answers(404))
def get_episode(goal_id: str) -> views.EpisodeDetail:
    """As it is shown to whoever plans a similar goal."""
    return views.EpisodeDetail.of_episode(routes.memory.episode(routes.tenant(), goal_id))


@routes.delete(
    "/memory/episodes/<goal_id>",
    tags=["memory"],
    summary="Forget what became of a goal",
    **answers(404, success=204, description="Forgotten"),
)
def forget_episode(goal_id: str) -> Response[None]:
    """The goal itself stays, and what its tasks took stays in the averages."""
    routes.memory.forget_episode(routes.tenant(), goal_id)
    return Response(204)


@routes.get("/memory/figures", tags=["memory"], summary="What tasks took on average, by capability", **answers())
def list_figures() -> views.FigureList:
    """Measured over your goals in words."""
    found = routes.memory.figures(routes.tenant())
    return views.FigureList(figures=tuple(views.FigureView.of(name, one) for name, one in found.items()))


@routes.delete("/memory", tags=["memory"], summary="Forget everything", **answers(503))
def forget_everything() -> views.ForgottenView:
    """All facts, conversations, episodes and figures of yours. Goals and knowledge stay."""
    gone = routes.memory.forget_all(routes.tenant())
    return views.ForgottenView(facts=gone.facts, sessions=gone.sessions, episodes=gone.episodes, figures=gone.figures)
