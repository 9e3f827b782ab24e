"""LangGraph: one superstep of no-ops, spread with `Send`, then one node after them all; each step's writes are checkpointed.

It runs in the client's process, as it does in an application: there is no worker. The database file is in PEER_URL.
"""

import operator
import os
import sqlite3
from typing import Annotated, Any, Final, TypedDict
from uuid import uuid4

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

AT_ONCE: Final = 2
"""Nodes that run at the same time: as many as the other peers have workers."""


class State(TypedDict):
    """Of the whole graph."""

    count: int
    values: Annotated[list[int], operator.add]
    seen: int


def _noop(state: dict[str, int]) -> dict[str, Any]:
    return {"values": [state["value"]]}


def _collect(state: State) -> dict[str, Any]:
    return {"seen": len(state["values"])}


def _spread(state: State) -> list[Send]:
    return [Send("noop", {"value": number}) for number in range(state["count"])]


def _build() -> Any:
    graph: Any = StateGraph(State)
    graph.add_node("noop", _noop)
    graph.add_node("collect", _collect)
    graph.add_conditional_edges(START, _spread, ["noop"])
    graph.add_edge("noop", "collect")
    graph.add_edge("collect", END)
    saver = SqliteSaver(sqlite3.connect(os.environ["PEER_URL"], check_same_thread=False))
    saver.setup()
    return graph.compile(checkpointer=saver)


_graph: list[Any] = []


def fan_out(count: int, timeout: float) -> None:
    """Run `count` no-ops and one node after them all."""
    if not _graph:
        _graph.append(_build())
    _graph[0].step_timeout = timeout
    thread = {"configurable": {"thread_id": uuid4().hex}, "max_concurrency": AT_ONCE}
    seen = _graph[0].invoke({"count": count, "values": []}, thread, durability="sync")["seen"]
    if seen != count:
        raise RuntimeError(f"the graph saw {seen} results of {count}")


def lone(timeout: float) -> None:
    """Run a graph of one no-op."""
    fan_out(1, timeout)
