"""/readyz while the database answers and takes no writes."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import psycopg
import pytest
import sqlalchemy as sa
import trio
from tests.http.api import open_api
from tests.storage.both import NOW

from backburner.clock import TrioClock
from backburner.errors import StorageReadOnly, StorageUnavailable
from backburner.http.readiness import NO_WRITES, Readiness
from backburner.storage import maintenance, postgresql
from backburner.storage.database import Database, PoolSettings, open_database
from backburner.storage.facts import get_fact, set_fact


def pragma(database: Database, statement: str) -> None:
    connection = database.writing.raw_connection()  # without a transaction
    connection.cursor().execute(statement)
    connection.close()


async def test_an_instance_is_not_ready_while_its_last_write_was_refused_and_finds_out_by_itself(
    autojump_clock, tmp_path
):
    async with open_api(f"sqlite:///{tmp_path / 'jobs.db'}") as api:  # readers are apart there
        assert (await api.get("/readyz", key=None)).status == 200
        pragma(api.database, "PRAGMA query_only=ON")
        assert (await api.post("/v1/jobs", json={"job_type": "job"})).status == 503
        await trio.sleep(1)
        answer = await api.get("/readyz", key=None)
        assert (answer.code, answer.error["message"]) == ((503, "not_ready"), NO_WRITES)
        assert "Retry-After" in answer.headers

        pragma(api.database, "PRAGMA query_only=OFF")
        assert (await api.get("/readyz", key=None)).status == 503  # asked within the same second
        await trio.sleep(1)
        assert (await api.get("/readyz", key=None)).status == 200


async def test_a_full_database_is_refused_in_the_same_way():
    async with open_api() as api:
        pragma(api.database, "PRAGMA max_page_count=1")
        with pytest.raises(StorageReadOnly, match="full"):
            await api.database.write(set_fact, "much", "x" * 1_000_000, now=NOW)


@pytest.fixture
def database(postgres_database) -> Iterator[Database]:
    maintenance.upgrade(postgres_database, now=NOW)
    found = open_database(postgres_database, random=Random(0), in_threads=False, pool=PoolSettings(size=1, overflow=0))
    yield found
    found.close()


def make_read_only(tx: sa.Connection) -> None:
    """As of a session that was open when its server was demoted."""
    tx.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")


@pytest.mark.postgresql
async def test_a_session_that_has_become_read_only_is_used_for_one_write_at_most(database):
    await database.write(make_read_only)
    with pytest.raises(StorageReadOnly, match="read-only transaction"):
        await database.write(set_fact, "name", 1, now=NOW)
    await database.write(set_fact, "name", 2, now=NOW)
    assert await database.read(get_fact, "name") == 2


@pytest.mark.postgresql
async def test_readiness_finds_such_a_session_before_a_write_does(database, autojump_clock):
    await database.write(make_read_only)
    assert await Readiness(database=database, clock=TrioClock()).refusal() is None
    await database.write(set_fact, "name", 1, now=NOW)


@pytest.mark.postgresql
async def test_the_server_is_asked_once_a_second_at_most(database, autojump_clock, monkeypatch):
    asked = []
    monkeypatch.setattr(postgresql, "write_refusal", lambda _tx: asked.append(trio.current_time()))
    readiness = Readiness(database=database, clock=TrioClock())
    for _ in range(30):
        assert await readiness.refusal() is None
        await trio.sleep(0.1)
    assert len(asked) == 3


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("answer", "said"), [("'on', false", "read-only"), ("'off', true", "standby"), ("'off', false", None)]
)
def test_what_the_server_says_is_understood(database, answer, said, monkeypatch):
    monkeypatch.setattr(
        postgresql, "_CANNOT_WRITE", sa.text(f"SELECT a = 'on', b FROM (VALUES ({answer})) AS x (a, b)")
    )
    with database.reading.connect() as tx:
        reason = postgresql.write_refusal(tx)
    assert (reason is None) if said is None else (said in str(reason))


@pytest.mark.postgresql
async def test_a_new_session_on_a_server_that_is_read_only_is_refused_at_once(postgres_server):
    with postgres_server.database() as name:
        with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        found = open_database(postgres_server.url(name), random=Random(0), in_threads=False)
        with pytest.raises(StorageUnavailable, match="read-only"):
            await found.read(lambda tx: tx.exec_driver_sql("SELECT 1").scalar())
        found.close()
