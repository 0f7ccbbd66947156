"""Results going in, page by page, and coming out in the order of the input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa

from backburner.commands import ResultPage, ResultRow
from backburner.model import Usage
from backburner.states import BatchStatus
from backburner.storage.bulk import insert_many
from backburner.storage.tables import jobs, provider_batches, results

COLUMNS = ("job_id", "idx", "round", "batch_id", "status", "line")


def store_pages(tx: sa.Connection, pages: Sequence[ResultPage], *, now: datetime) -> int:
    """Append results and count them, each exactly once. Returns how many were new.

    Results that are there already are skipped, and so are those of batches that are final.
    """
    pages = _of_open_batches(tx, pages)
    save = tx.begin_nested()
    wanted = [(page, row) for page in pages for row in page.rows]
    if _insert(tx, wanted) != len(wanted):
        save.rollback()
        wanted = _only_new(tx, pages)
        _insert(tx, wanted)
    else:
        save.commit()
    _count(tx, wanted, now)
    return len(wanted)


def _of_open_batches(tx: sa.Connection, pages: Sequence[ResultPage]) -> list[ResultPage]:
    keys = {page.batch_key for page in pages}
    accepting = sa.select(provider_batches.c.id).where(
        provider_batches.c.id.in_(keys), provider_batches.c.status == BatchStatus.ENDED
    )
    open_keys = set(tx.execute(accepting).scalars())
    return [page for page in pages if page.batch_key in open_keys]


Wanted = list[tuple[ResultPage, ResultRow]]


def _insert(tx: sa.Connection, wanted: Wanted) -> int:
    rows = [(page.job_key, row.index, page.round, page.batch_key, row.status.value, row.result) for page, row in wanted]
    return insert_many(tx, results, COLUMNS, rows)


def _only_new(tx: sa.Connection, pages: Sequence[ResultPage]) -> Wanted:
    seen: set[tuple[int, int, int]] = set()
    new: Wanted = []
    for page in pages:
        indices = [row.index for row in page.rows]
        stored = sa.select(results.c.idx).where(
            results.c.job_id == page.job_key,
            results.c.round == page.round,
            results.c.idx.between(min(indices), max(indices)),
        )
        seen.update((page.job_key, page.round, index) for index in tx.execute(stored).scalars())
        for row in page.rows:
            if (key := (page.job_key, page.round, row.index)) not in seen:
                seen.add(key)
                new.append((page, row))
    return new


def _count(tx: sa.Connection, wanted: Wanted, now: datetime) -> None:
    of_batch: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    of_job: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for page, row in wanted:
        of_batch[page.batch_key][row.status.value] += 1
        of_job[page.job_key][row.status.value] += 1
        if row.usage is not None:
            _add_usage(of_job[page.job_key], row.usage)
    for key in sorted(of_batch):
        _add(tx, provider_batches, key, of_batch[key])
    for key in sorted(of_job):  # in order, so that two transactions never wait for each other crosswise
        _add(tx, jobs, key, of_job[key], updated_at=now, version=jobs.c.version + 1)


def _add_usage(sums: dict[str, int], usage: Usage) -> None:
    sums["input_tokens"] += usage.input_tokens
    sums["output_tokens"] += usage.output_tokens
    sums["cache_creation_input_tokens"] += usage.cache_creation_input_tokens
    sums["cache_read_input_tokens"] += usage.cache_read_input_tokens


def _add(tx: sa.Connection, table: sa.Table, key: int, steps: dict[str, int], **also: object) -> None:
    sums = {name: table.c[name] + step for name, step in steps.items()}
    tx.execute(sa.update(table).where(table.c.id == key).values(**sums, **also))


def stored_indices(tx: sa.Connection, job_key: int, round: int, first: int, last: int) -> list[int]:  # noqa: A002  # the glossary's word
    """Which items of a range have their result of this round."""
    stored = sa.select(results.c.idx).where(
        results.c.job_id == job_key, results.c.round == round, results.c.idx.between(first, last)
    )
    return list(tx.execute(stored).scalars())


def job_ids_of(tx: sa.Connection, job_keys: Iterable[int]) -> list[str]:
    """Public ids of jobs."""
    found = sa.select(jobs.c.public_id).where(jobs.c.id.in_(sorted(set(job_keys))))
    return list(tx.execute(found.order_by(jobs.c.id)).scalars())
