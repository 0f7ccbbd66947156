"""What the sandbox inside the servers keeps, as rows: whichever of them leads knows the batches of the one before."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from backburner.storage.tables import sandbox_batches, sandbox_pages


def load(tx: sa.Connection) -> tuple[list[bytes], int]:
    """The records in the order of their making, and the highest sequence that was ever given."""
    return list(tx.execute(_RECORDS).scalars()), tx.execute(_HIGHEST).scalar() or 0


_RECORDS = (
    sa.select(sandbox_batches.c.record)
    .where(sandbox_batches.c.record.is_not(None))
    .order_by(sandbox_batches.c.sequence)
)
_HIGHEST = sa.select(sa.func.max(sandbox_batches.c.sequence))


def add(tx: sa.Connection, sequence: int, record: bytes, pages: Sequence[bytes]) -> bool:
    """A new batch and its items. False when another sandbox has given the sequence meanwhile."""
    if tx.execute(_TAKEN, {"place": sequence}).first() is not None:
        return False
    tx.execute(sa.insert(sandbox_batches).values(sequence=sequence, record=record))
    tx.execute(
        sa.insert(sandbox_pages),
        [{"sequence": sequence, "number": number, "items": page} for number, page in enumerate(pages)],
    )
    return True


_TAKEN = sa.select(sandbox_batches.c.sequence).where(sandbox_batches.c.sequence == sa.bindparam("place"))


def replace(tx: sa.Connection, sequence: int, record: bytes) -> None:
    """The batch has changed."""
    tx.execute(_REPLACE, {"place": sequence, "new": record})


_REPLACE = (
    sa.update(sandbox_batches)
    .where(sandbox_batches.c.sequence == sa.bindparam("place"), sandbox_batches.c.record.is_not(None))
    .values(record=sa.bindparam("new"))
)


def delete(tx: sa.Connection, sequence: int) -> None:
    """The batch is gone; its sequence is never given again."""
    tx.execute(_EMPTY, {"place": sequence})
    tx.execute(sa.delete(sandbox_pages).where(sandbox_pages.c.sequence == sequence))


_EMPTY = sa.update(sandbox_batches).where(sandbox_batches.c.sequence == sa.bindparam("place")).values(record=None)


def page(tx: sa.Connection, sequence: int, number: int) -> bytes | None:
    """One page of a batch's items; None behind the last one, or when the batch is gone."""
    return tx.execute(_PAGE, {"place": sequence, "page": number}).scalar()


_PAGE = sa.select(sandbox_pages.c["items"]).where(
    sandbox_pages.c.sequence == sa.bindparam("place"), sandbox_pages.c.number == sa.bindparam("page")
)
