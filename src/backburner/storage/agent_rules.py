"""What must hold of conversations, their turns and the tool ledger, as queries for what violates it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from backburner.states import BATCH_FINAL, ConversationState, ToolCallState
from backburner.storage.tables import (
    conversations,
    jobs,
    loose_keys,
    provider_batches,
    results,
    tool_calls,
    turns,
)

_ANSWERED = (ConversationState.ANSWERED, ConversationState.TOOLS)
_ASKING = (ConversationState.READY, ConversationState.ASKED)
_OPEN = (ToolCallState.REQUESTED, ToolCallState.STARTED)
_BEGUN = (ToolCallState.STARTED, ToolCallState.FINISHED)


def _conversations(*violated: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Jobs, not yet deleted, with such conversations."""
    found = sa.select(jobs.c.public_id).join(conversations, conversations.c.job_id == jobs.c.id)
    return found.where(*violated).distinct()


def _calls(*violated: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Jobs, not yet deleted, with such tool calls, each beside its conversation."""
    found = sa.select(jobs.c.public_id).join(tool_calls, tool_calls.c.job_id == jobs.c.id)
    return found.join(conversations, _of_conversation(tool_calls)).where(*violated).distinct()


def _of_conversation(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.job_id == conversations.c.job_id, table.c.idx == conversations.c.idx)


def _count(table: sa.Table) -> sa.ColumnElement[int]:
    return sa.select(sa.func.count()).select_from(table).where(_of_conversation(table)).scalar_subquery()


def _unlike_their_state() -> sa.Select[Any]:
    is_done = conversations.c.state == ConversationState.DONE
    has_ended = sa.and_(conversations.c.status.is_not(None), conversations.c.stop_reason.is_not(None))
    return _conversations(is_done != has_ended)


def _unlike_their_answers() -> sa.Select[Any]:
    answers, newest = _count(results), conversations.c.round
    return _conversations(
        sa.or_(
            sa.and_(conversations.c.state.in_(_ANSWERED), answers != newest),
            sa.and_(conversations.c.state.in_(_ASKING), answers != newest - 1),
            answers.not_in([newest, newest - 1]),
        )
    )


def _unlike_their_turns() -> sa.Select[Any]:
    return _conversations(_count(turns) != conversations.c.round - 1)


def _newest_turn() -> sa.Select[Any]:
    return sa.select(turns.c.batch_id).where(_of_conversation(turns), turns.c.round == conversations.c.round)


def _asked_of_nobody() -> sa.Select[Any]:
    is_open = provider_batches.c.status.not_in(list(BATCH_FINAL))
    travels = _newest_turn().join(provider_batches, provider_batches.c.id == turns.c.batch_id).where(is_open)
    return _conversations(conversations.c.state == ConversationState.ASKED, sa.not_(travels.exists()))


def _planned_already() -> sa.Select[Any]:
    planned = _newest_turn().where(turns.c.batch_id.is_not(None)).exists()
    return _conversations(conversations.c.state == ConversationState.READY, planned)


def _waiting_for_nothing() -> sa.Select[Any]:
    awaited = sa.select(tool_calls.c.position).where(
        _of_conversation(tool_calls), tool_calls.c.round == conversations.c.round, tool_calls.c.state.in_(_OPEN)
    )
    return _conversations(conversations.c.state == ConversationState.TOOLS, sa.not_(awaited.exists()))


def _other_members() -> sa.Select[Any]:
    held = sa.select(sa.func.count()).where(turns.c.batch_id == provider_batches.c.id)
    fitting = held.where(
        turns.c.job_id == provider_batches.c.job_id,
        turns.c.round == provider_batches.c.round,
        turns.c.idx.between(provider_batches.c.first_idx, provider_batches.c.last_idx),
    )
    wrong = [count.scalar_subquery() != provider_batches.c.item_count for count in (held, fitting)]
    return sa.select(provider_batches.c.public_id).where(provider_batches.c.round > 1, sa.or_(*wrong))


def _finished_without_result() -> sa.Select[Any]:
    is_finished = tool_calls.c.state == ToolCallState.FINISHED
    has_result = sa.and_(tool_calls.c.result.is_not(None), tool_calls.c.finished_at.is_not(None))
    return _calls(is_finished != has_result)


def _begun_or_not() -> sa.Select[Any]:
    return _calls((tool_calls.c.attempt > 0) != tool_calls.c.state.in_(_BEGUN))


def _unwanted() -> sa.Select[Any]:
    is_wanted = sa.and_(conversations.c.state == ConversationState.TOOLS, conversations.c.round == tool_calls.c.round)
    return _calls(tool_calls.c.state == ToolCallState.REQUESTED, sa.not_(is_wanted))


def _passed_over() -> sa.Select[Any]:
    return _calls(tool_calls.c.round < conversations.c.round, tool_calls.c.state != ToolCallState.FINISHED)


def _orphans() -> sa.Select[Any]:
    named = sa.union(*(sa.select(table.c.job_id) for table in (conversations, turns, tool_calls))).subquery()
    known = sa.union_all(sa.select(jobs.c.id), sa.select(loose_keys.c.id)).subquery()
    return sa.select(sa.cast(named.c.job_id, sa.Text)).where(named.c.job_id.not_in(sa.select(known.c.id)))


AGENT_RULES: tuple[tuple[str, Callable[[], sa.Select[Any]]], ...] = (
    ("a conversation has an outcome exactly when it is done", _unlike_their_state),
    ("a conversation has an answer for each of its rounds", _unlike_their_answers),
    ("a conversation has a turn for each round after the first", _unlike_their_turns),
    ("a conversation that was asked on travels in an open provider batch", _asked_of_nobody),
    ("a conversation that is to be planned is in no provider batch", _planned_already),
    ("a conversation that waits for tools has open calls", _waiting_for_nothing),
    ("a provider batch of a later round holds the items that it says", _other_members),
    ("a tool call has a result exactly when it is finished", _finished_without_result),
    ("a tool call counts its starts", _begun_or_not),
    ("a tool call is to be made only while its conversation waits for it", _unwanted),
    ("no conversation goes on before its tool calls are finished", _passed_over),
    ("every conversation, turn and tool call belongs to a job", _orphans),
)
