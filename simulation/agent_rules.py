"""What must hold of conversations, their turns and the tool ledger at every moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from backburner.rounds import answer_in
from backburner.states import BATCH_FINAL, ConversationState, ItemStatus, ToolCallState
from backburner.storage.tables import conversations, jobs, provider_batches, results, tool_calls, turns

S = ConversationState


def broken_conversations(tx: sa.Connection) -> Iterator[str]:
    """Everything that is violated."""
    for row in tx.execute(sa.select(conversations)):
        yield from (f"item {row.idx} of job {row.job_id}, {row.state}: {what}" for what in _of_one(tx, row))
    yield from _of_turns(tx)
    yield from _of_calls(tx)


def _of_one(tx: sa.Connection, row: Any) -> Iterator[str]:
    if (row.state is S.DONE) != (row.status is not None and row.stop_reason is not None):
        yield f"status {row.status}, reason {row.stop_reason}"
    answers = _rounds(tx, results, row)
    if row.state is S.ANSWERED and answers != [*range(1, row.round + 1)]:
        yield f"has answers {answers} in round {row.round}"
    if row.state in (S.READY, S.ASKED) and answers != [*range(1, row.round)]:
        yield f"has answers {answers} before round {row.round}"
    if _rounds(tx, turns, row) != [*range(2, row.round + 1)]:
        yield f"has turns {_rounds(tx, turns, row)} in round {row.round}"
    batch = tx.execute(sa.select(turns.c.batch_id).where(*_is(turns, row), turns.c.round == row.round)).scalar()
    if row.state is S.READY and batch is not None:
        yield "is planned"
    if row.state is S.ASKED:
        status = tx.execute(sa.select(provider_batches.c.status).where(provider_batches.c.id == batch)).scalar()
        if status is None or status in BATCH_FINAL:
            yield f"its batch is {status}"
    calls = Counter(call.state for call in _calls(tx, row, row.round))
    if row.state is S.TOOLS and not calls[ToolCallState.REQUESTED] + calls[ToolCallState.STARTED]:
        yield f"waits for no tool: {calls}"
    if row.state in (S.READY, S.ASKED, S.ANSWERED):
        yield from _answered_for(tx, row)


def _answered_for(tx: sa.Connection, row: Any) -> Iterator[str]:
    """Every call of an earlier answer is in the ledger once, and finished."""
    said = sa.select(results.c.round, results.c.line).where(*_is(results, row), results.c.round < row.round)
    for round_, line in tx.execute(said):
        wanted = [call.tool_use_id for call in answer_in(line).calls or ()]
        calls = _calls(tx, row, round_)
        if [call.tool_use_id for call in calls] != wanted or {c.state for c in calls} - {ToolCallState.FINISHED}:
            yield f"round {round_} wanted {wanted}, the ledger has {[(c.tool_use_id, c.state) for c in calls]}"


def _is(table: sa.Table, row: Any) -> list[sa.ColumnElement[bool]]:
    return [table.c.job_id == row.job_id, table.c.idx == row.idx]


def _rounds(tx: sa.Connection, table: sa.Table, row: Any) -> list[int]:
    return list(tx.execute(sa.select(table.c.round).where(*_is(table, row)).order_by(table.c.round)).scalars())


def _calls(tx: sa.Connection, row: Any, round_: int) -> list[Any]:
    found = sa.select(tool_calls).where(*_is(tool_calls, row), tool_calls.c.round == round_)
    return list(tx.execute(found.order_by(tool_calls.c.position)))


def _of_turns(tx: sa.Connection) -> Iterator[str]:
    """A batch of a later round holds as many items as it says, all of that round and job."""
    for batch in tx.execute(sa.select(provider_batches).where(provider_batches.c.round > 1)):
        held = tx.execute(sa.select(turns).where(turns.c.batch_id == batch.id)).all()
        places = {(turn.job_id, turn.round) for turn in held}
        inside = all(batch.first_idx <= turn.idx <= batch.last_idx for turn in held)
        if len(held) != batch.item_count or places != {(batch.job_id, batch.round)} or not inside:
            yield f"{batch.public_id} of round {batch.round} says {batch.item_count} items, has {len(held)}"


def _of_calls(tx: sa.Connection) -> Iterator[str]:
    for call in tx.execute(sa.select(tool_calls, jobs.c.status).join(jobs, jobs.c.id == tool_calls.c.job_id)):
        named = f"{call.tool_use_id} of item {call.idx}, {call.state}"
        if (call.state is ToolCallState.FINISHED) != (call.result is not None and call.finished_at is not None):
            yield f"{named}: its result is {call.result}"
        if (call.attempt > 0) != (call.state in (ToolCallState.STARTED, ToolCallState.FINISHED)):
            yield f"{named}: was started {call.attempt} times"
        if call.status.is_terminal and call.state is ToolCallState.REQUESTED:
            yield f"{named}: its job is {call.status}"


def outcomes_of_agents(tx: sa.Connection, job_key: int) -> Counter[str]:
    """How the items of an agent job have ended, counted from the rows."""
    ended = sa.select(conversations.c.status).where(
        conversations.c.job_id == job_key, conversations.c.status.is_not(None)
    )
    return Counter(ItemStatus(status).value for status in tx.execute(ended).scalars())
