"""Many webhooks due at once, to receivers that take their time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

import sqlalchemy as sa
import trio

from backburner.pace import Pace
from backburner.signing import new_secret
from backburner.states import DeliveryStatus
from backburner.storage.database import Database
from backburner.storage.tables import deliveries, organizations, webhook_secrets
from benchmarks.instance import CLOCK, IDS, SlowProvider, prepared, quiet, running
from benchmarks.places import fresh
from benchmarks.report import Options, Row, middle, repeated

DELIVERIES = 10_000
LATENCY = 0.05
AT_ONCE = 64
RECEIVERS = 32  # each is called four times at once, at most
ORGANIZATIONS = 8
PACE = Pace(callback_concurrency=AT_ONCE, may_lead=False)
BODY = '{"type":"job.completed","timestamp":"2026-01-01T00:00:00Z","data":{"job_id":"job-0","status":"completed"}}'


def measure(options: Options) -> list[Row]:
    rows = []
    for database in options.databases:
        took = middle(repeated(partial(_run, database), options.runs))
        rows.append(
            Row(
                what=f"{DELIVERIES:,} webhooks, {AT_ONCE} at once, {database}",
                unit="s",
                ours=took,
                raw=DELIVERIES * LATENCY / AT_ONCE,
                raw_name="waiting alone",
                ratio_target=1.5,
                better="less",
            )
        )
    return rows


def _run(database: str) -> float:
    with fresh(database) as (_, url), _receivers() as ports, closing(prepared(url)) as opened:
        return trio.run(_deliver, opened, ports)


@contextmanager
def _receivers() -> Iterator[list[int]]:
    command = [sys.executable, "-m", "benchmarks.receivers", str(RECEIVERS), str(LATENCY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield [int(port) for port in process.stdout.readline().split()]
        finally:
            process.kill()


async def _deliver(database: Database, ports: list[int]) -> float:
    quiet()
    await database.write(_owe, ports)
    began = time.perf_counter()
    async with running(database, SlowProvider(0.0, lists=True), PACE):
        while await database.read(_pending):  # noqa: ASYNC110  # the database rings no bell here
            await trio.sleep(0.1)
        took = time.perf_counter() - began
        assert await database.read(_made) == DELIVERIES
        return took


def _owe(tx: sa.Connection, ports: list[int]) -> None:
    now = CLOCK.now()
    for key in range(2, ORGANIZATIONS + 1):
        tx.execute(sa.insert(organizations).values(id=key, public_id=IDS.new("org"), name=f"{key}", created_at=now))
        tx.execute(sa.insert(webhook_secrets).values(organization_id=key, secret=new_secret(), created_at=now))
    tx.execute(sa.insert(deliveries), [_delivery(number, ports[number % len(ports)]) for number in range(DELIVERIES)])


def _delivery(number: int, port: int) -> dict[str, object]:
    return {
        "public_id": IDS.new("delivery"),
        "job_id": 0,
        "organization_id": 1 + number % ORGANIZATIONS,
        "type": "job.completed",
        "url": f"http://127.0.0.1:{port}/hook",
        "receiver": f"127.0.0.1:{port}",
        "body": BODY,
        "status": DeliveryStatus.PENDING,
        "by_hand": False,
        "next_attempt_at": CLOCK.now(),
        "created_at": CLOCK.now(),
    }


def _pending(tx: sa.Connection) -> int:
    waiting = sa.select(deliveries.c.id).where(deliveries.c.status == DeliveryStatus.PENDING).limit(1)
    return len(tx.execute(waiting).all())


def _made(tx: sa.Connection) -> int:
    delivered = sa.select(sa.func.count()).where(deliveries.c.status == DeliveryStatus.DELIVERED)
    return int(tx.execute(delivered).scalar_one())
