"""Conversations, their turns, and the ledger of tool calls."""

from __future__ import annotations

import sqlalchemy as sa

from backburner.states import ConversationState, ItemStatus, ToolCallState
from backburner.storage.columns import Key, Name
from backburner.storage.tables.parts import among, count, is_among, metadata, partial_index, time

#: Conversations that are not done, and calls that are to be made. Both are few beside those that are over.
UNFINISHED = tuple(state for state in ConversationState if state is not ConversationState.DONE)
TO_MAKE = (ToolCallState.REQUESTED, ToolCallState.STARTED)

# One row for each item of an agent job from its first answer on. Items without a row are in their first round, or their
# provider batch was closed in it.
conversations = sa.Table(
    "conversations",
    metadata,
    sa.Column("job_id", Key, primary_key=True, autoincrement=False),
    sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("round", sa.Integer, nullable=False),  # of the newest request
    sa.Column("state", Name(ConversationState), nullable=False),
    sa.Column("status", Name(ItemStatus)),  # set exactly when it is done
    sa.Column("stop_reason", sa.Text),
    count("input_tokens"),
    count("output_tokens"),
    count("cache_creation_input_tokens"),
    count("cache_read_input_tokens"),
    time("updated_at", nullable=False),
    partial_index("ix_conversations_open", "state", "job_id", "idx", where=among("state", UNFINISHED)),
    sqlite_with_rowid=False,
)

# Requests of later rounds. A provider batch of such a round holds the items whose turns name it: they are no range.
turns = sa.Table(
    "turns",
    metadata,
    sa.Column("job_id", Key, primary_key=True, autoincrement=False),
    sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("round", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("batch_id", Key),  # null: not planned yet
    sa.Column("size", sa.BigInteger, nullable=False),  # of the request that is put together when it is sent; about
    partial_index("ix_turns_of_batch", "batch_id", "idx", where="batch_id IS NOT NULL"),
    sqlite_with_rowid=False,
)

# The tool ledger: one row for each call that a model asked for. A finished one is never made again.
tool_calls = sa.Table(
    "tool_calls",
    metadata,
    sa.Column("job_id", Key, primary_key=True, autoincrement=False),
    sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("round", sa.Integer, primary_key=True, autoincrement=False),  # of the answer that asks for it
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tool_use_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("input", sa.Text, nullable=False),  # JSON, verbatim
    sa.Column("state", Name(ToolCallState), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),  # how often it was started
    sa.Column("epoch", sa.BigInteger),  # the term that started it last
    sa.Column("result", sa.Text),  # JSON: the content that the model is given
    sa.Column("is_error", sa.Boolean),
    time("requested_at", nullable=False),
    time("started_at"),
    time("finished_at"),
    partial_index("ix_tool_calls_open", "state", "job_id", "idx", where=among("state", TO_MAKE)),
)


def is_unfinished(table: sa.FromClause = conversations) -> sa.ColumnElement[bool]:
    """That a conversation is not done, in the words of its index: a further condition may say more."""
    return is_among(table.c.state, UNFINISHED)


def is_to_make(table: sa.FromClause = tool_calls) -> sa.ColumnElement[bool]:
    """That a tool call is to be made or under way, in the words of its index."""
    return is_among(table.c.state, TO_MAKE)
