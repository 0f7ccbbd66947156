"""The whole database in the end: the operator's own rules, and the mirror against the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from backburner.storage.rules import RULES
from backburner.storage.tables import deliveries, jobs, provider_batches, results

if TYPE_CHECKING:
    from simulation.world import World


def audit(world: World) -> None:
    """Report what violates a rule of `db check`, or what no commit has told of."""
    with world.store.database.reading.connect() as tx:
        for what, query in RULES:
            for who in tx.execute(query()).scalars():
                world.broken(what, str(who))
        for name, counted, mirrored in (
            ("jobs", _count(tx, jobs), len(world.mirror.jobs)),
            ("provider batches", _count(tx, provider_batches), len(world.mirror.batches)),
            ("deliveries", _count(tx, deliveries), len(world.mirror.deliveries)),
            ("results", _count(tx, results), sum(c.total() for c in world.mirror.stored_of_job.values())),
        ):
            if counted != mirrored:
                world.broken("every commit is told of", f"{counted} {name}, of which {mirrored} were told of")


def _count(tx: sa.Connection, table: sa.Table) -> Any:
    return tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
