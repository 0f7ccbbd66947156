"""Facts about the server as a whole, for every instance to see: providers, polling, the last cycle."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs
import sqlalchemy as sa

from backburner.storage.statements import bound
from backburner.storage.tables import providers, server_facts

POLLING = "polling"
LAST_CYCLE = "last_cycle"
WRITE_TRIED = "write_tried"  # by an instance whose last write failed

_FACT = sa.select(server_facts.c.value).where(server_facts.c.name == bound("fact", server_facts.c.name))
_PROVIDERS = sa.select(providers).order_by(providers.c.name)


@attrs.frozen(kw_only=True)
class ProviderState:
    """Whether submissions go to a provider, and if not, why."""

    name: str
    state: str  # active; waiting: for a rate limit or a fault to pass; paused: a person has to act
    reason: str | None
    retry_at: datetime | None


def set_provider(tx: sa.Connection, new: ProviderState, *, now: datetime) -> None:
    """Remember the state of a provider, and since when it has been in it."""
    values = {"state": new.state, "reason": new.reason, "retry_at": new.retry_at}
    since = sa.case(
        (providers.c.state == new.state, providers.c.changed_at), else_=sa.literal(now, providers.c.changed_at.type)
    )
    same = sa.update(providers).where(providers.c.name == new.name)
    if tx.execute(same.values(changed_at=since, **values)).rowcount == 0:
        tx.execute(sa.insert(providers).values(name=new.name, changed_at=now, **values))


def provider_states(tx: sa.Connection) -> list[ProviderState]:
    """Every provider that was used, by name."""
    return [
        ProviderState(name=row.name, state=row.state, reason=row.reason, retry_at=row.retry_at)
        for row in tx.execute(_PROVIDERS)
    ]


def set_fact(tx: sa.Connection, name: str, value: Any, *, now: datetime) -> None:
    """Remember a fact."""
    if tx.execute(_SET_FACT, {"fact": name, "new": value, "at": now}).rowcount == 0:
        tx.execute(sa.insert(server_facts).values(name=name, value=value, updated_at=now))


def get_fact(tx: sa.Connection, name: str) -> Any:
    """A remembered fact, or None."""
    return tx.execute(_FACT, {"fact": name}).scalar()


_SET_FACT = (
    sa.update(server_facts)
    .where(server_facts.c.name == sa.bindparam("fact"))
    .values(value=sa.bindparam("new"), updated_at=sa.bindparam("at"))
)


def is_polling(tx: sa.Connection) -> bool:
    """Whether polling has not been paused by hand."""
    return get_fact(tx, POLLING) is not False
