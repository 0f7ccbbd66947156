"""Requests of agent jobs, put together from what is stored: params, answers, and what tools gave."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa

from backburner.agent_options import agent_of
from backburner.model import ProviderBatch
from backburner.next_request import Exchange, ToolReturn, next_request
from backburner.rounds import content_in
from backburner.storage.tables import items, jobs, requests, results, tool_calls, turns

T = TypeVar("T")
Place = tuple[int, int]  # index, round
Chosen = Callable[[Any], sa.ColumnElement[bool]]  # whether a table's row is of a wanted item


def requests_of_agents(tx: sa.Connection, batch: ProviderBatch, make: Callable[[int, str], T]) -> list[T]:
    """make(index, params) of every item of a provider batch of an agent job, in order."""
    tools = agent_of(tx.execute(sa.select(jobs.c.agent).where(jobs.c.id == batch.job_key)).scalar_one()).definitions()
    chosen = _chosen(batch)
    said = _exchanges(tx, batch.job_key, batch.round, chosen) if batch.round > 1 else {}
    rows = tx.execute(_first_requests(batch.job_key, chosen))
    return [make(row.idx, next_request(row.params, tools, said.get(row.idx, ())).decode()) for row in rows]


def request_of(tx: sa.Connection, job_key: int, index: int, before: int) -> str:
    """The request of one item's round, without the agent's tools: how the conversation stood then."""
    chosen = _only(index)
    said = _exchanges(tx, job_key, before, chosen)
    first = tx.execute(_first_requests(job_key, chosen)).one()
    return next_request(first.params, (), said.get(index, ())).decode()


def _first_requests(job_key: int, chosen: Chosen) -> sa.Select[Any]:
    shared = sa.and_(requests.c.job_id == jobs.c.requests_of, requests.c.idx == items.c.request_idx)
    return (
        sa.select(items.c.idx, requests.c.params)
        .select_from(items.join(jobs, jobs.c.id == items.c.job_id).join(requests, shared))
        .where(items.c.job_id == job_key, chosen(items))
        .order_by(items.c.idx)
    )


def _chosen(batch: ProviderBatch) -> Chosen:
    if batch.round == 1:
        return lambda table: table.c.idx.between(batch.first_index, batch.last_index)
    members = sa.select(turns.c.idx).where(turns.c.batch_id == batch.key)
    return lambda table: table.c.idx.in_(members)


def _only(index: int) -> Chosen:
    return lambda table: table.c.idx == index


def _exchanges(tx: sa.Connection, job_key: int, before: int, chosen: Chosen) -> dict[int, list[Exchange]]:
    """By item: its answers of the rounds before this one, each with what its tools gave."""
    given: dict[Place, list[ToolReturn]] = defaultdict(list)
    called = sa.select(tool_calls).where(
        tool_calls.c.job_id == job_key, tool_calls.c.round < before, chosen(tool_calls)
    )
    for row in tx.execute(called.order_by(tool_calls.c.idx, tool_calls.c.round, tool_calls.c.position)):
        given[row.idx, row.round].append(ToolReturn(row.tool_use_id, row.result, row.is_error))
    answered = sa.select(results.c.idx, results.c.round, results.c.line).where(
        results.c.job_id == job_key, results.c.round < before, chosen(results)
    )
    found: dict[int, list[Exchange]] = defaultdict(list)
    for row in tx.execute(answered.order_by(results.c.idx, results.c.round)):
        found[row.idx].append(Exchange(content_in(row.line), given[row.idx, row.round]))
    return found
