"""Pages of lists when there are a million jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import httpx2
import sqlalchemy as sa
from tests.processes.harness import KEY

from backburner.storage.tables import job_metadata, jobs
from benchmarks.instance import CLOCK, IDS, prepared
from benchmarks.places import fresh
from benchmarks.report import Options, Row, percentile
from benchmarks.watching import watched_server

PAGES = 300
RUNNING = 50  # every so manieth job still runs
CUSTOMERS = 1000
LISTS = {"of all": "", "of one status": "&status=running", "by metadata": "&metadata.customer=7"}


def measure(options: Options) -> list[Row]:
    rows: list[Row] = []
    for database in options.databases:
        with fresh(database) as (folder, url):
            _fill(url, options.jobs)
            with watched_server(folder, {"BACKBURNER_DATABASE_URL": url}) as server, server.client() as client:
                for name, query in LISTS.items():
                    took = list(_pages(client, query))
                    what = f"page of 50 {name}, {options.jobs:,} jobs, {database}"
                    rows += [_row(f"{what}, p50", percentile(took, 0.5)), _row(f"{what}, p99", percentile(took, 0.99))]
    return rows


def _row(what: str, seconds: float) -> Row:
    return Row(what=what, unit="ms", ours=1000 * seconds, better="less")


def _pages(client: httpx2.Client, query: str) -> Iterator[float]:
    """Seconds of each page, from the newest on, and again from there at the end."""
    after = ""
    for _ in range(PAGES):
        began = time.perf_counter()
        page = client.get(f"/v1/jobs?limit=50{query}{after}").raise_for_status()
        yield time.perf_counter() - began
        found = page.json()
        assert found["data"], "the list is empty"
        after = f"&after={found['last_id']}" if found["has_more"] else ""


def _fill(url: str, count: int) -> None:
    """That many jobs, made inside the database; the server's first key is that of the benchmarks."""
    with closing(prepared(url, KEY)) as database, database.writing.begin() as tx:
        now = CLOCK.now()
        first = {"id": 1, "public_id": IDS.new("job"), "job_type": "job", "status": "completed"}
        owner = {"organization_id": 1, "user_id": 1}
        filled = {"metadata": {}, "request_config": {}, "background": True, "priority": 0, "version": 1}
        times = {"created_at": now, "updated_at": now}
        if tx.dialect.name == "postgresql":
            tx.exec_driver_sql("SET LOCAL statement_timeout = 0")
        tx.execute(sa.insert(jobs).values(**first, **owner, **filled, **times))
        tx.execute(_copies(tx.dialect.name, count))
        tx.execute(_metadata())
        tx.exec_driver_sql("ANALYZE")


def _copies(dialect: str, count: int) -> sa.Insert:
    """Copies of the first job under ids that rise, some of them running."""
    number = sa.select(sa.literal(1).label("n")).cte("numbers", recursive=True)
    number = number.union_all(sa.select(number.c.n + 1).where(number.c.n < count))
    high, low = number.c.n.op(">>")(16), number.c.n.op("&")(65535)
    if dialect == "sqlite":
        public_id: sa.ColumnElement[str] = sa.func.printf("job-019b%04x-%04x-7000-8000-000000000000", high, low)
    else:
        parts = [sa.func.lpad(sa.func.to_hex(part), 4, "0") for part in (high, low)]
        public_id = sa.func.concat("job-019b", parts[0], "-", parts[1], "-7000-8000-000000000000")
    status = sa.case((number.c.n % RUNNING == 0, "running"), else_="completed")
    changed = {"id": number.c.n + 1, "public_id": public_id, "status": status}
    names = [column.name for column in jobs.c]
    chosen = [changed.get(name, jobs.c[name]) for name in names]
    copied = sa.select(*chosen).select_from(jobs.join(number, sa.true())).where(jobs.c.id == 1)
    return sa.insert(jobs).from_select(names, copied)


def _metadata() -> sa.Insert:
    customer = sa.cast(jobs.c.id % CUSTOMERS, sa.Text)
    named = sa.select(jobs.c.id, sa.literal("customer"), customer, jobs.c.organization_id, jobs.c.public_id)
    return sa.insert(job_metadata).from_select(["job_id", "name", "value", "organization_id", "job_public_id"], named)
