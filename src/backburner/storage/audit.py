"""The audit log: who did what, written in the transaction that does it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import attrs
import sqlalchemy as sa

from backburner.ids import Ids
from backburner.model import Principal
from backburner.storage.absent import Decided
from backburner.storage.accounts import ApiKey
from backburner.storage.pages import Cut, page_of
from backburner.storage.tables import audit_log, organizations

DENIED = "access.deny"

P = ParamSpec("P")
T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Entry:
    """Who is about to do what, from where."""

    id: str
    at: datetime
    principal: Principal
    action: str  #: the kind of object, a dot, and what is done to it
    object_id: str | None  #: as the request names it; None: what is made, else the organization itself
    address: str | None
    request_id: str


@attrs.frozen(kw_only=True)
class AuditRow:
    """What was done."""

    id: str
    at: datetime
    organization_id: str  #: of who did it
    user_id: str | None
    key_id: str | None
    action: str
    object_type: str
    object_id: str
    address: str | None
    request_id: str | None
    detail: Any  #: a few public facts, or None


@attrs.frozen(kw_only=True)
class AuditFilter:
    """Which rows a list shows; None means any."""

    action: str | None = None
    object_id: str | None = None
    key_id: str | None = None
    user_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """What the WHERE clause has to say."""
        names = ("action", "object_id", "key_id", "user_id")
        found = [audit_log.c[name] == getattr(self, name) for name in names if getattr(self, name) is not None]
        if self.created_after is not None:
            found.append(audit_log.c.at > self.created_after)
        if self.created_before is not None:
            found.append(audit_log.c.at < self.created_before)
        return found


@attrs.frozen
class Already(Generic[T]):
    """What a verb returns that found done what it was asked for, and changed nothing."""

    found: T


def audited(
    tx: sa.Connection,
    entry: Entry,
    work: Callable[Concatenate[sa.Connection, P], T | Already[T]],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Call work(tx, …) and log it in its transaction. What `work` refuses by raising, or finds done, is not logged."""
    outcome = work(tx, *args, **kwargs)
    if isinstance(outcome, Already):
        return outcome.found
    principal, kind, made_id = entry.principal, entry.action.partition(".")[0], _id_of(outcome)
    # A surface for another API's clients has names of its own for our objects.
    known_id = made_id if made_id is not None and made_id.startswith(f"{kind}-") else entry.object_id
    tx.execute(
        sa.insert(audit_log),
        {
            "public_id": entry.id,
            "at": entry.at,
            "organization_id": principal.organization_key,
            "user_id": principal.user_id,
            "key_id": principal.key_id,
            "action": entry.action,
            "object_type": kind,
            "object_id": known_id or made_id or principal.organization_id,
            "address": entry.address,
            "request_id": entry.request_id,
            "detail": _detail(outcome, made_id if known_id not in (None, made_id) else None),
        },
    )
    return outcome


def log_denial(tx: sa.Connection, entry: Entry) -> None:
    """Somebody's key tried what it may not do: the action is `access.deny`, the object what was tried."""
    principal = entry.principal
    tx.execute(
        sa.insert(audit_log),
        {
            "public_id": entry.id,
            "at": entry.at,
            "organization_id": principal.organization_key,
            "user_id": principal.user_id,
            "key_id": principal.key_id,
            "action": DENIED,
            "object_type": DENIED.partition(".")[0],
            "object_id": entry.object_id or principal.organization_id,
            "address": entry.address,
            "request_id": entry.request_id,
            "detail": {"tried": entry.action},
        },
    )


def _id_of(outcome: object) -> str | None:
    """The public id of what a verb returns: a record, or a tuple that begins with one."""
    record = outcome[0] if isinstance(outcome, tuple) and outcome else outcome
    found = getattr(record, "id", None)
    return found if isinstance(found, str) else None


def _detail(outcome: object, made_id: str | None) -> dict[str, Any] | None:
    if isinstance(outcome, Decided):
        return {"provider": outcome.provider, "batches": outcome.batches, "moved_to": outcome.moved_to}
    if isinstance(outcome, ApiKey):
        return {"user_id": outcome.user_id, "organization_id": outcome.organization_id, "scopes": list(outcome.scopes)}
    return None if made_id is None else {"made": made_id}


def new_entry(ids: Ids, **known: Any) -> Entry:
    """An entry with a new id."""
    return Entry(id=ids.new("audit"), **known)


def list_audit(tx: sa.Connection, *, within: int | None, chosen: AuditFilter, cut: Cut) -> tuple[list[AuditRow], bool]:
    """A page of what keys of the organization `within` did (None: of any), and whether there is more."""
    found = sa.select(audit_log, organizations.c.public_id.label("organization")).join_from(
        audit_log, organizations, organizations.c.id == audit_log.c.organization_id
    )
    if within is not None:
        found = found.where(audit_log.c.organization_id == within)
    rows, has_more = page_of(tx, found.where(*chosen.conditions()), audit_log.c.public_id, cut)
    return [_audit_row(row) for row in rows], has_more


def sweep(tx: sa.Connection, *, before: datetime, most: int) -> int:
    """Delete up to `most` of the rows that are older. Returns how many went."""
    oldest = tx.execute(sa.select(audit_log.c.at).order_by(audit_log.c.id).limit(1)).scalar()
    if oldest is None or oldest >= before:
        return 0
    first = sa.select(audit_log.c.id).order_by(audit_log.c.id).limit(most).scalar_subquery()
    gone: int = tx.execute(sa.delete(audit_log).where(audit_log.c.id.in_(first), audit_log.c.at < before)).rowcount
    return gone


_SAME = ("at", "user_id", "key_id", "action", "object_type", "object_id", "address", "request_id", "detail")


def _audit_row(row: Any) -> AuditRow:
    return AuditRow(id=row.public_id, organization_id=row.organization, **{name: getattr(row, name) for name in _SAME})
