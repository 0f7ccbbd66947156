"""Why batch jobs wait, as they show it: read off what is kept with their open provider batches and their providers.

While a batch job goes on its `hold` is written here and nowhere else, so that nothing that waits has to think of it.
Its end clears it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from backburner.holds import Hold, HoldCode, Waiting, worst
from backburner.states import ACTIVE, BatchStatus
from backburner.storage.facts import POLLING
from backburner.storage.notifications import announce_jobs
from backburner.storage.statements import bound
from backburner.storage.tables import is_active, is_open, jobs, provider_batches, providers, server_facts

BY_HAND = "Polling and submitting were paused by an operator."
PAGE = 500  # jobs in one statement

Changes = Mapping[int, Hold | None]  # by job


def waiting_jobs(tx: sa.Connection, provider: str) -> list[int]:
    """Keys of the jobs that are held, or may have come to be. `provider` is the one that this server works with."""
    found = set(tx.execute(_HELD).scalars()) | set(tx.execute(_IN_TROUBLE).scalars())
    if _paused_since(tx) is not None:
        found |= set(tx.execute(_OPEN).scalars())
        return sorted(found)
    for name in set(tx.execute(_USED).scalars()) - {provider}:
        found |= set(tx.execute(_OPEN_OF, {"provider_name": name}).scalars())
    if _account(tx, provider) is not None:
        found |= set(tx.execute(_PLANNED_OF, {"provider_name": provider}).scalars())
    return sorted(found)


_HELD = sa.select(jobs.c.id).where(is_active(), jobs.c.hold.is_not(None), jobs.c.items_total.is_not(None))
_OPEN = sa.select(provider_batches.c.job_id).where(is_open()).distinct()
_IN_TROUBLE = _OPEN.where(provider_batches.c.error.is_not(None))
_USED = sa.select(provider_batches.c.provider).where(is_open()).distinct()
_OPEN_OF = _OPEN.where(provider_batches.c.provider == sa.bindparam("provider_name"))
_PLANNED_OF = _OPEN_OF.where(provider_batches.c.status == BatchStatus.PLANNED)


def changed_holds(tx: sa.Connection, keys: Sequence[int], provider: str, *, now: datetime) -> dict[int, Hold | None]:
    """Of these jobs the ones whose hold is not what it should be, with what it should be."""
    shown = {row.id: Hold.of_json(row.hold) for row in tx.execute(_SHOWN, {"keys": keys}) if row.status in ACTIVE}
    reasons: dict[int, list[Hold]] = defaultdict(list)
    for key, hold in _reasons(tx, keys, provider):
        reasons[key].append(hold)
    changes = {}
    for key, before in shown.items():
        after = worst(reasons[key], now)
        if (after and after.code) != (before and before.code):
            changes[key] = after
    return changes


_SHOWN = sa.select(jobs.c.id, jobs.c.status, jobs.c.hold).where(jobs.c.id.in_(sa.bindparam("keys", expanding=True)))


def _reasons(tx: sa.Connection, keys: Sequence[int], provider: str) -> Iterator[tuple[int, Hold]]:
    """Everything that holds one of these jobs."""
    for row in tx.execute(_TROUBLES, {"keys": keys}):
        found = Waiting(row.public_id, row.status, row.error, row.intent_at, row.not_found_since).hold()
        if found is not None:
            yield row.job_id, found
    yield from _standing(tx, keys, provider)


def _standing(tx: sa.Connection, keys: Sequence[int], provider: str) -> Iterator[tuple[int, Hold]]:
    """What holds them together with all others."""
    paused_since, account = _paused_since(tx), _account(tx, provider)
    for row in tx.execute(_STANDING, {"keys": keys}):
        if paused_since is not None:
            yield (
                row.job_id,
                Hold(HoldCode.POLLING_PAUSED, max(paused_since, row.since), BY_HAND),
            )
        if row.provider != provider:
            message = f"The provider {row.provider!r} is not configured on this server any more."
            yield row.job_id, Hold(HoldCode.PROVIDER_ABSENT, row.since, message)
        elif account is not None and row.status is BatchStatus.PLANNED:
            yield row.job_id, Hold(account.code, max(account.since, row.since), account.message)


_TROUBLES = sa.select(
    provider_batches.c.job_id,
    provider_batches.c.public_id,
    provider_batches.c.status,
    provider_batches.c.error,
    provider_batches.c.intent_at,
    provider_batches.c.not_found_since,
).where(
    provider_batches.c.job_id.in_(sa.bindparam("keys", expanding=True)),
    is_open(),
    provider_batches.c.error.is_not(None),
)
_STANDING = (
    sa.select(
        provider_batches.c.job_id,
        provider_batches.c.provider,
        provider_batches.c.status,
        sa.func.min(provider_batches.c.created_at).label("since"),
    )
    .where(provider_batches.c.job_id.in_(sa.bindparam("keys", expanding=True)), is_open())
    .group_by(provider_batches.c.job_id, provider_batches.c.provider, provider_batches.c.status)
)


def _paused_since(tx: sa.Connection) -> datetime | None:
    """Since when polling is paused by hand."""
    row = tx.execute(_SWITCH).first()
    return row.updated_at if row is not None and row.value is False else None


_SWITCH = sa.select(server_facts.c.value, server_facts.c.updated_at).where(server_facts.c.name == POLLING)


def _account(tx: sa.Connection, provider: str) -> Hold | None:
    """What holds all that is to be submitted to a provider."""
    row = tx.execute(_ACCOUNT, {"provider_name": provider}).first()
    if row is None or row.state not in _ACCOUNTS:
        return None
    return Hold(_ACCOUNTS[row.state], row.changed_at, f"Nothing is submitted to {provider}: {row.reason}")


_ACCOUNTS = {"paused": HoldCode.ACCOUNT_PAUSED, "waiting": HoldCode.ACCOUNT_WAITING}
_ACCOUNT = sa.select(providers.c.state, providers.c.reason, providers.c.changed_at).where(
    providers.c.name == sa.bindparam("provider_name")
)


def set_holds(tx: sa.Connection, changes: Changes, *, now: datetime) -> list[str]:
    """Have these jobs show why they wait, or that they do not. Returns the public ids of those that go on."""
    changed = []
    for key, hold in changes.items():
        row = tx.execute(_SET, {"key": key, "new": None if hold is None else hold.as_json(), "now": now}).first()
        if row is not None:
            changed.append(row.public_id)
    announce_jobs(tx, changed)
    return changed


_SET = (
    sa.update(jobs)
    .where(jobs.c.id == bound("key", jobs.c.id), is_active())
    .values(
        hold=sa.bindparam("new", type_=jobs.c.hold.type),
        version=jobs.c.version + 1,
        updated_at=bound("now", jobs.c.updated_at),
    )
    .returning(jobs.c.public_id)
)


def denied_batches(tx: sa.Connection, *, before: datetime) -> tuple[int, datetime | None]:
    """How many batches the provider has answered nothing but 404 for since a time before this, and since when."""
    count, since = tx.execute(_DENIED, {"before": before}).one()
    return int(count), since


_DENIED = sa.select(sa.func.count(), sa.func.min(provider_batches.c.not_found_since)).where(
    is_open(),
    provider_batches.c.error.is_not(None),
    provider_batches.c.not_found_since <= sa.bindparam("before"),
)
