"""The tool ledger: which calls are to be made, which may have been, and what came of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import attrs
import sqlalchemy as sa

from backburner.agent_options import AgentOptions, ToolSpec, agent_of
from backburner.commands import CallPlace, ToolFinished
from backburner.states import ConversationState, ToolCallState
from backburner.storage.tables import conversations, is_to_make, items, jobs, organizations, tool_calls
from backburner.storage.turns import make_turns

_PLACE = (tool_calls.c.job_id, tool_calls.c.idx, tool_calls.c.round, tool_calls.c.position)


@attrs.frozen(kw_only=True)
class StartedCall:
    """A call that is under way, or was when its instance died."""

    place: CallPlace
    job_id: str
    organization_key: int
    custom_id: str
    agent_id: str | None
    tool_use_id: str
    name: str
    input: str  #: JSON
    spec: ToolSpec | None  #: None: the job has no such tool
    attempt: int
    is_wanted: bool  #: the conversation still waits for it


def start_calls(tx: sa.Connection, *, limit: int, epoch: int, now: datetime) -> list[StartedCall]:
    """Take on up to `limit` calls, for which there are places. They count as begun when this has committed.

    The organization with the fewest calls under way goes first, within it every job in turn. Unless it is the only one
    here, an organization begins nothing that would give it more places than are free: calls may hang for an hour.
    """
    rows = tx.execute(_WAITING, {"most": limit}).all()
    is_shared = tx.execute(_ORGANIZATIONS).scalar_one() > 1
    places = [CallPlace(*row[:4]) for begun, row in enumerate(rows) if not is_shared or row.share <= limit - begun]
    return take_on(tx, places, epoch=epoch, now=now)


_ORGANIZATIONS = sa.select(sa.func.count()).select_from(sa.select(organizations.c.id).limit(2).subquery())
_RANK = sa.func.row_number().over(partition_by=tool_calls.c.job_id, order_by=_PLACE[1:]).label("rank")
_REQUESTED = (
    sa.select(*_PLACE, _RANK).where(is_to_make(), tool_calls.c.state == ToolCallState.REQUESTED).subquery("waiting")
)
_HELD = (
    sa.select(jobs.c.organization_id, sa.func.count().label("calls"))
    .select_from(tool_calls.join(jobs, jobs.c.id == tool_calls.c.job_id))
    .where(is_to_make(), tool_calls.c.state == ToolCallState.STARTED)
    .group_by(jobs.c.organization_id)
    .subquery("held")
)
# How many places the call's organization has when this one is begun after those before it.
_SHARE = sa.func.coalesce(_HELD.c.calls, 0) + sa.func.row_number().over(
    partition_by=jobs.c.organization_id, order_by=(_REQUESTED.c.rank, _REQUESTED.c.job_id)
)
_MOST = sa.bindparam("most", type_=sa.Integer)
_WAITING = (
    sa.select(_REQUESTED, _SHARE.label("share"))
    .select_from(
        _REQUESTED.join(jobs, jobs.c.id == _REQUESTED.c.job_id).outerjoin(
            _HELD, _HELD.c.organization_id == jobs.c.organization_id
        )
    )
    .where(_REQUESTED.c.rank <= _MOST)  # before they are ranked once more: there may be very many
    .order_by("share", jobs.c.organization_id)
    .limit(_MOST)
)


def take_on(tx: sa.Connection, places: Sequence[CallPlace], *, epoch: int, now: datetime) -> list[StartedCall]:
    """Begin these calls, or begin them again; those that are finished or dropped meanwhile are left out."""
    if not places:
        return []
    tx.execute(_BEGIN, [{**_at(place), "term": epoch, "now": now} for place in places])
    return _started(tx, sa.tuple_(*_PLACE).in_(places))


_IS_AT = [column == sa.bindparam(f"at_{column.name}") for column in _PLACE]
# One by one: SQLite finds rows by a list of places only by reading the whole table.
_BEGIN = (
    sa.update(tool_calls)
    .where(*_IS_AT, is_to_make())
    .values(
        state=ToolCallState.STARTED,
        attempt=tool_calls.c.attempt + 1,
        epoch=sa.bindparam("term"),
        started_at=sa.bindparam("now"),
    )
)


def _at(place: CallPlace) -> dict[str, int]:
    return {f"at_{column.name}": value for column, value in zip(_PLACE, place, strict=True)}


def left_started(tx: sa.Connection, *, known: Collection[CallPlace]) -> list[StartedCall]:
    """Calls that were begun and are not `known` to be under way: their instance died, or lost its term."""
    places = [place for row in tx.execute(_UNDER_WAY) if (place := CallPlace(*row)) not in known]
    return _started(tx, sa.tuple_(*_PLACE).in_(places)) if places else []


_UNDER_WAY = sa.select(*_PLACE).where(is_to_make(), tool_calls.c.state == ToolCallState.STARTED)


def _started(tx: sa.Connection, wanted: sa.ColumnElement[bool]) -> list[StartedCall]:
    found = (
        sa.select(
            tool_calls, items.c.custom_id, items.c.agent_id, conversations.c.state.label("standing"), jobs.c.public_id
        )
        .select_from(
            tool_calls.join(
                conversations,
                sa.and_(conversations.c.job_id == tool_calls.c.job_id, conversations.c.idx == tool_calls.c.idx),
            )
            .join(items, sa.and_(items.c.job_id == tool_calls.c.job_id, items.c.idx == tool_calls.c.idx))
            .join(jobs, jobs.c.id == tool_calls.c.job_id)
        )
        .where(wanted, is_to_make(), tool_calls.c.state == ToolCallState.STARTED)
        .order_by(*_PLACE)
    )
    rows = tx.execute(found).all()
    owners = _owners(tx, {row.job_id for row in rows})
    return [_call_of(row, *owners[row.job_id]) for row in rows]


def _owners(tx: sa.Connection, keys: Collection[int]) -> dict[int, tuple[AgentOptions, int]]:
    found = sa.select(jobs.c.id, jobs.c.agent, jobs.c.organization_id).where(jobs.c.id.in_(sorted(keys)))
    return {row.id: (agent_of(row.agent), row.organization_id) for row in tx.execute(found)}


def _call_of(row: Any, agent: AgentOptions, organization_key: int) -> StartedCall:
    return StartedCall(
        place=CallPlace(row.job_id, row.idx, row.round, row.position),
        job_id=row.public_id,
        organization_key=organization_key,
        custom_id=row.custom_id,
        agent_id=row.agent_id,
        tool_use_id=row.tool_use_id,
        name=row.name,
        input=row.input,
        spec=agent.tool(row.name),
        attempt=row.attempt,
        is_wanted=row.standing is ConversationState.TOOLS,
    )


# --- what came of them -------------------------------------------------------------------------------------

_FINISH = (
    sa.update(tool_calls)
    .where(*_IS_AT, tool_calls.c.state == ToolCallState.STARTED)
    .values(
        state=ToolCallState.FINISHED,
        result=sa.bindparam("content"),
        is_error=sa.bindparam("failed"),
        finished_at=sa.bindparam("at"),
    )
)


def finish_calls(tx: sa.Connection, finished: Sequence[ToolFinished]) -> bool:
    """Keep what calls gave, each exactly once. Conversations that have all they asked for become ready.

    Returns whether any did.
    """
    if not finished:
        return False
    tx.execute(
        _FINISH,
        [
            {**_at(command.place), "content": command.content, "failed": command.is_error, "at": command.at}
            for command in finished
        ],
    )
    touched: dict[int, set[int]] = defaultdict(set)
    for command in finished:
        touched[command.place.job_key].add(command.place.item)
    at = finished[-1].at
    ready = [_make_ready(tx, key, sorted(indices), at) for key, indices in sorted(touched.items())]
    return any(ready)


def _make_ready(tx: sa.Connection, job_key: int, indices: Sequence[int], now: datetime) -> bool:
    unfinished = sa.exists().where(
        tool_calls.c.job_id == conversations.c.job_id,
        tool_calls.c.idx == conversations.c.idx,
        tool_calls.c.round == conversations.c.round,
        tool_calls.c.state != ToolCallState.FINISHED,
    )
    moved = tx.execute(
        sa.update(conversations)
        .where(
            conversations.c.job_id == job_key,
            conversations.c.idx.in_(indices),
            conversations.c.state == ConversationState.TOOLS,
            sa.not_(unfinished),
        )
        .values(state=ConversationState.READY, round=conversations.c.round + 1, updated_at=now)
        .returning(conversations.c.idx)
    )
    ready = sorted(moved.scalars())
    if ready:
        agent = agent_of(tx.execute(sa.select(jobs.c.agent).where(jobs.c.id == job_key)).scalar_one())
        make_turns(tx, job_key, agent, ready)
    return bool(ready)
