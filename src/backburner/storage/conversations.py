"""Conversations of agent jobs: what follows from answers, and how open ones end with their job."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs
import msgspec
import sqlalchemy as sa

from backburner.agent_options import AgentOptions, agent_of
from backburner.commands import ResultPage
from backburner.ids import Ids
from backburner.model import Job, Usage
from backburner.result_lines import usage_of
from backburner.rounds import CallTools, Done, GoOn, Verdict, answer_in, decide
from backburner.states import ConversationState, ItemStatus, ToolCallState
from backburner.storage import turns
from backburner.storage.bulk import insert_many
from backburner.storage.columns import UtcDateTime
from backburner.storage.notifications import announce_work
from backburner.storage.settle import settle_job
from backburner.storage.tables import conversations, is_to_make, is_unfinished, jobs, results, tool_calls

COLUMNS = ("job_id", "idx", "round", "state", "updated_at")
IN_ONE_QUERY = 500


def record_answers(tx: sa.Connection, page: ResultPage, *, now: datetime) -> None:
    """New results of an agent job are here: what follows is to be decided."""
    indices = [row.index for row in page.rows]
    if page.round == 1:
        at = UtcDateTime().process_bind_param(now, tx.dialect)
        rows = [(page.job_key, index, 1, ConversationState.ANSWERED.value, at) for index in indices]
        insert_many(tx, conversations, COLUMNS, rows)
        return
    for start in range(0, len(indices), IN_ONE_QUERY):
        tx.execute(
            sa.update(conversations)
            .where(
                conversations.c.job_id == page.job_key,
                conversations.c.idx.in_(indices[start : start + IN_ONE_QUERY]),
                conversations.c.round == page.round,
                conversations.c.state == ConversationState.ASKED,
            )
            .values(state=ConversationState.ANSWERED, updated_at=now)
        )


@attrs.frozen(kw_only=True)
class Decided:
    """What deciding a page of answers has brought about."""

    answers: int = 0
    tools: bool = False  # there are tools to call
    ended: Sequence[Job] = ()


@attrs.define
class _Page:
    """What is written for the answers of one job."""

    job_key: int
    agent: AgentOptions
    stopping: str | None
    moved: list[dict[str, Any]] = attrs.field(factory=list)
    going_on: list[int] = attrs.field(factory=list)  # positions
    calls: list[tuple[Any, ...]] = attrs.field(factory=list)
    done: Counter[str] = attrs.field(factory=Counter)


def decide_answers(tx: sa.Connection, *, limit: int, now: datetime, ids: Ids) -> Decided:
    """Decide up to `limit` answers, and settle the jobs whose last conversation that ends."""
    rows = _answered(tx, limit)
    if not rows:
        return Decided()
    pages = {key: _Page(key, agent, stopping) for key, agent, stopping in _locked(tx, {row.job_id for row in rows})}
    for row in _still_answered(tx, pages, rows):
        _take(pages[row.job_id], row, now)
    for page in pages.values():
        _store(tx, page, now)
    ended = [job for key in pages if (job := settle_job(tx, key, now=now, ids=ids)) is not None]
    if any(job.callback_url is not None for job in ended):
        announce_work(tx)
    return Decided(answers=len(rows), tools=any(page.calls for page in pages.values()), ended=ended)


def _answered(tx: sa.Connection, limit: int) -> Sequence[Any]:
    return tx.execute(_ANSWERED, {"most": limit}).all()


_ANSWERED = (
    sa.select(conversations.c.job_id, conversations.c.idx)
    .where(is_unfinished(), conversations.c.state == ConversationState.ANSWERED)
    .order_by(conversations.c.job_id, conversations.c.idx)
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def _locked(tx: sa.Connection, keys: set[int]) -> list[tuple[int, AgentOptions, str | None]]:
    """Nobody else ends these jobs until this transaction ends."""
    found = sa.select(jobs.c.id, jobs.c.agent, jobs.c.stopping).where(jobs.c.id.in_(sorted(keys)))
    rows = tx.execute(found.order_by(jobs.c.id).with_for_update())
    return [(row.id, agent_of(row.agent), row.stopping) for row in rows]


def _still_answered(tx: sa.Connection, pages: dict[int, _Page], rows: Sequence[Any]) -> list[Any]:
    indices: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        indices[row.job_id].append(row.idx)
    found: list[Any] = []
    for key in pages:
        found += _with_results(tx, key, indices[key])
    return found


def _with_results(tx: sa.Connection, job_key: int, indices: Sequence[int]) -> list[Any]:
    newest = sa.and_(
        results.c.job_id == conversations.c.job_id,
        results.c.idx == conversations.c.idx,
        results.c.round == conversations.c.round,
    )
    found = (
        sa.select(conversations, results.c.line)
        .select_from(conversations.join(results, newest))
        .where(
            conversations.c.job_id == job_key,
            conversations.c.idx.between(indices[0], indices[-1]),
            conversations.c.state == ConversationState.ANSWERED,
        )
    )
    return list(tx.execute(found.order_by(conversations.c.idx).limit(len(indices))))


def _take(page: _Page, row: Any, now: datetime) -> None:
    spent = usage_of(row.line) or Usage()
    used = Usage(**{name: getattr(row, name) for name in Usage.__struct_fields__}) + spent
    verdict = decide(answer_in(row.line), page.agent, round=row.round, used=used, stopping=page.stopping)
    counters = {f"used_{name}": count for name, count in msgspec.structs.asdict(used).items()}
    page.moved.append({"item": row.idx, "at": now, **counters, **_next(verdict, row.round)})
    if isinstance(verdict, Done):
        page.done[verdict.status.value] += 1
    elif isinstance(verdict, GoOn):
        page.going_on.append(row.idx)
    else:
        page.calls += [
            (page.job_key, row.idx, row.round, position, call.tool_use_id, call.name, call.input)
            for position, call in enumerate(verdict.calls)
        ]


def _next(verdict: Verdict, round: int) -> dict[str, Any]:  # noqa: A002  # the glossary's word
    if isinstance(verdict, Done):
        done = {"to_state": ConversationState.DONE, "to_round": round}
        return {**done, "to_status": verdict.status, "reason": verdict.stop_reason}
    if isinstance(verdict, CallTools):
        return {"to_state": ConversationState.TOOLS, "to_round": round, "to_status": None, "reason": None}
    return {"to_state": ConversationState.READY, "to_round": round + 1, "to_status": None, "reason": None}


_MOVED = (
    sa.update(conversations)
    .where(conversations.c.job_id == sa.bindparam("job"), conversations.c.idx == sa.bindparam("item"))
    .values(
        state=sa.bindparam("to_state"),
        round=sa.bindparam("to_round"),
        status=sa.bindparam("to_status"),
        stop_reason=sa.bindparam("reason"),
        updated_at=sa.bindparam("at"),
        **{name: sa.bindparam(f"used_{name}") for name in Usage.__struct_fields__},
    )
)


def _store(tx: sa.Connection, page: _Page, now: datetime) -> None:
    if not page.moved:
        return
    tx.execute(_MOVED, [{"job": page.job_key, **moved} for moved in page.moved])
    at = UtcDateTime().process_bind_param(now, tx.dialect)
    rows = [(*call, ToolCallState.REQUESTED.value, at) for call in page.calls]
    insert_many(tx, tool_calls, CALL_COLUMNS, rows)
    turns.make_turns(tx, page.job_key, page.agent, page.going_on)
    count_done(tx, page.job_key, page.done, now)


CALL_COLUMNS = ("job_id", "idx", "round", "position", "tool_use_id", "name", "input", "state", "requested_at")


def count_done(tx: sa.Connection, job_key: int, done: Counter[str], now: datetime) -> None:
    """Conversations have ended so: their items count in the job."""
    counts = {name: jobs.c[name] + count for name, count in done.items()}
    tx.execute(sa.update(jobs).where(jobs.c.id == job_key).values(**counts, updated_at=now, version=jobs.c.version + 1))


def end_waiting(tx: sa.Connection, job_key: int, *, status: ItemStatus, reason: str, now: datetime) -> None:
    """The job is being ended: its conversations that wait for something here end so. What is at the provider stays.

    Answers that are not looked at yet stay too: they may be the last ones.
    """
    ended = tx.execute(
        sa.update(conversations)
        .where(
            is_unfinished(),
            conversations.c.job_id == job_key,
            conversations.c.state.in_([ConversationState.TOOLS, ConversationState.READY]),
        )
        .values(state=ConversationState.DONE, status=status, stop_reason=reason, updated_at=now)
    )
    tx.execute(
        sa.update(tool_calls)
        .where(is_to_make(), tool_calls.c.job_id == job_key, tool_calls.c.state == ToolCallState.REQUESTED)
        .values(state=ToolCallState.DROPPED)
    )
    if ended.rowcount:
        count_done(tx, job_key, Counter({status.value: ended.rowcount}), now)
