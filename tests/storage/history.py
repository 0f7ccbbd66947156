"""A long history, made inside the database: what has ended is there many times over, what is open only a little."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import sqlalchemy as sa

#: Rows of history. A tenth of what a large server has: each planner takes the same indexes as at ten times that, and
#: what reads them all costs a hundred times more than any statement may.
JOBS, BATCHES, CALLS = 100_000, 30_000, 50_000
PIECE = 25_000  # rows of one statement
FIRST = 100_000_000  # keys of what is made later begin there
#: Rows of one organization, user, provider, handler and agent, so that no condition on them narrows anything.
_OLD = "2026-02-01 00:00:00.000000"
_PAD = "x" * 200
NUMBERED = ("provider_batches", "deliveries", "audit_log", "idempotency_keys", "loose_keys")


def fill(tx: sa.Connection, *, scale: float = 1.0) -> None:
    """Make the history for the organization and user 1, with keys from 1 on."""
    jobs, batches, calls = (round(rows * scale) for rows in (JOBS, BATCHES, CALLS))
    is_sqlite = tx.dialect.name == "sqlite"
    for statement in chain.from_iterable(_statements(jobs, batches, calls)):
        tx.exec_driver_sql(statement.replace("TIME_TYPE", "TEXT" if is_sqlite else "TIMESTAMPTZ"))
    if is_sqlite:  # a sequence goes on by itself behind the keys that are there; of jobs this one draws them
        tx.exec_driver_sql(f"INSERT INTO sqlite_sequence (name, seq) VALUES ('loose_keys', {FIRST})")
    else:
        for table in NUMBERED:
            tx.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {FIRST})")


def _statements(jobs: int, batches: int, calls: int) -> list[Iterator[str]]:
    return [
        _insert(
            "jobs",
            jobs,
            id="n", public_id="'job-00000000-0000-7000-8000-' || substr('' || (1000000000000 + n), 2)",
            organization_id="1", user_id="1",
            job_type="CASE n - n / 3 * 3 WHEN 0 THEN 'batch' WHEN 1 THEN 'run' ELSE 'job' END",
            status="CASE n - n / 4 * 4 WHEN 0 THEN 'failed' WHEN 1 THEN 'cancelled' ELSE 'completed' END",
            background="true", metadata="'{}'", request_config="'{}'", created_at=f"'{_OLD}'", updated_at=f"'{_OLD}'",
            completed_at=f"'{_OLD}'", deadline_at=f"'{_OLD}'", items_total="1", succeeded="1", batches_total="1",
            batches_ended="1", batches_final="1", provider="'sandbox'", requests_of="n", agent_id="'agent'",
            callback_url="'http://x.test/'", handler="'one'",
        ),
        _insert("job_metadata", jobs, job_id="n", name="'team'", value="'a'", organization_id="1",
                job_public_id="'job-00000000-0000-7000-8000-' || substr('' || (1000000000000 + n), 2)"),
        _insert(
            "provider_batches",
            batches,
            id="n", public_id="'batch-old-' || n", job_id="n", organization_id="1", provider="'sandbox'", round="1",
            status="CASE n - n / 10 * 10 WHEN 0 THEN 'closed' ELSE 'ingested' END",
            first_idx="0", last_idx="0", item_count="3",
            byte_size="100", nonce="'old' || n", provider_batch_id="'msgbatch_old' || n", created_at=f"'{_OLD}'",
            intent_at=f"'{_OLD}'", submitted_at=f"'{_OLD}'", last_polled_at=f"'{_OLD}'", ended_at=f"'{_OLD}'",
            create_response=f"'{_PAD}'", latest_polling_response=f"'{_PAD}'",
        ),
        _insert("items", jobs, job_id="n", idx="0", custom_id="'a'", request_idx="0", size="10", agent_id="'agent'"),
        _insert("requests", jobs, job_id="n", idx="0", params="'{}'"),
        _insert("results", jobs, job_id="n", idx="0", round="1", batch_id="n",
                line="CASE n - n / 4 * 4 WHEN 0 THEN '{\"type\":\"errored\"}' ELSE '{\"type\":\"succeeded\"}' END",
                status="CASE n - n / 4 * 4 WHEN 0 THEN 'errored' ELSE 'succeeded' END"),
        _insert(
            "deliveries",
            jobs,
            id="n", public_id="'delivery-old-' || n", job_id="n", organization_id="1", type="'job.completed'",
            url="'http://x.test/'", receiver="'x.test:80'", body=f"'{_PAD}'", by_hand="false", number="1",
            status="CASE n - n / 10 * 10 WHEN 0 THEN 'failed' ELSE 'delivered' END", created_at=f"'{_OLD}'",
        ),
        _insert("attempts", jobs, delivery_id="n", number="1", at=f"'{_OLD}'", status_code="200", duration_ms="1"),
        _insert("conversations", calls, job_id="n", idx="0", round="2", state="'done'", status="'succeeded'",
                updated_at=f"'{_OLD}'"),
        _insert("turns", calls, job_id="n", idx="0", round="2", batch_id="n", size="10"),
        _insert(
            "tool_calls",
            calls,
            job_id="n", idx="0", round="1", position="0", tool_use_id="'t' || n", name="'add'", input="'{}'",
            state="CASE n - n / 10 * 10 WHEN 0 THEN 'dropped' ELSE 'finished' END", requested_at=f"'{_OLD}'",
            finished_at=f"'{_OLD}'",
        ),
        _insert("audit_log", jobs, id="n", public_id="'audit-old-' || n", at=f"'{_OLD}'", organization_id="1",
                action="'job.create'", object_type="'job'", object_id="'job'"),
        _insert("idempotency_keys", jobs, id="n", caller="'key-1'", route="'POST /v1/jobs'", key="'old-' || n",
                body_hash="'h'", status="202", response="'{}'", job_id="n", created_at=f"'{_OLD}'"),
    ]  # fmt: skip


def _insert(table: str, rows: int, **columns: str) -> Iterator[str]:
    """In pieces: no answer of PostgreSQL is waited for for long."""
    for first in range(1, rows + 1, PIECE):
        last = min(rows, first + PIECE - 1)
        yield (
            f"INSERT INTO {table} ({', '.join(columns)}) "
            f"WITH RECURSIVE rows(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM rows WHERE n < {last}) "
            f"SELECT {', '.join(_typed(name, value) for name, value in columns.items())} FROM rows"
        )


def _typed(name: str, value: str) -> str:
    """A time needs its type on PostgreSQL; SQLite keeps it as text."""
    return f"CAST({value} AS TIME_TYPE)" if name == "at" or name.endswith("_at") else value
