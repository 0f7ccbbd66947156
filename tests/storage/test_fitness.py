"""Databases that cannot be used: one sentence, with what is in the way and the way out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from random import Random

import psycopg
import pytest
from tests.postgres import PostgresServer
from tests.storage.both import NOW

from backburner.errors import StorageUnusable
from backburner.storage import maintenance, migrate
from backburner.storage.database import open_database


def refusal(url: str) -> str:
    """What `serve` says; `doctor` says the same."""
    with pytest.raises(StorageUnusable) as serving:
        maintenance.upgrade(url, now=NOW)
    with pytest.raises(StorageUnusable) as looking:
        maintenance.schema_finding(url)
    assert str(serving.value) == str(looking.value)
    assert "\n" not in str(serving.value)
    return str(serving.value)


@contextmanager
def altered(server: PostgresServer, *statements: str) -> Iterator[str]:
    """The URL of a fresh database in which somebody has run `statements`."""
    with server.database() as name:
        with psycopg.connect(server.url(name), autocommit=True) as admin:
            for statement in statements:
                admin.execute(statement)
        yield server.url(name)


@pytest.mark.postgresql
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_keep_every_text(postgres_server, encoding):
    name = f"odd_{encoding.lower()}"
    with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    said = refusal(postgres_server.url(name))
    assert said.startswith(f"The database {name} has the encoding {encoding}; it needs UTF8")
    assert "TEMPLATE template0" in said


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["CREATE TABLE jobs (x int)"], ("public", "jobs", "search_path")),
        (
            ["CREATE TABLE alembic_version (version_num text)", "INSERT INTO alembic_version VALUES ('a1b2c3d4e5f6')"],
            ("alembic_version", "a1b2c3d4e5f6", "search_path"),
        ),
        (
            ["CREATE TABLE alembic_version (version_num text)", "INSERT INTO alembic_version VALUES ('0001')"],
            ("alembic_version", "0001"),
        ),
        (["DROP SCHEMA public"], ("search_path", "CREATE SCHEMA", "GRANT USAGE")),
    ],
)
def test_a_schema_that_is_anothers_or_not_there(postgres_server, statements, words):
    with altered(postgres_server, *statements) as url:
        said = refusal(url)
    assert [word for word in words if word not in said] == []


@pytest.fixture
def role(postgres_server) -> Iterator[str]:
    with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
        admin.execute("CREATE ROLE app LOGIN")
        yield "app"
        admin.execute("DROP ROLE app")


@pytest.mark.postgresql
def test_a_role_that_may_not_make_tables(postgres_server, role):
    with altered(postgres_server) as url:
        assert "GRANT CREATE ON SCHEMA public TO app" in refusal(url.replace("postgres@", f"{role}@"))


@pytest.mark.postgresql
def test_a_role_that_may_not_use_the_tables_of_another(postgres_server, role):
    with altered(postgres_server) as url:
        maintenance.upgrade(url, now=NOW)
        said = refusal(url.replace("postgres@", f"{role}@"))
        assert "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app" in said


@pytest.mark.postgresql
async def test_a_grant_that_goes_while_a_server_runs_is_named(postgres_server, role):
    with altered(postgres_server) as url:
        maintenance.upgrade(url, now=NOW)
        database = open_database(url.replace("postgres@", f"{role}@"), random=Random(0), in_threads=False)
        with pytest.raises(StorageUnusable, match="permission denied for table jobs"):
            await database.read(lambda tx: tx.exec_driver_sql("SELECT count(*) FROM jobs").scalar())
        database.close()


@pytest.mark.postgresql
def test_tables_of_others_beside_ours_are_no_concern(postgres_server):
    with altered(
        postgres_server, "CREATE TABLE customers (x int)", "CREATE TABLE alembic_version (version_num text)"
    ) as url:
        maintenance.upgrade(url, now=NOW)
        assert maintenance.schema_finding(url).ok


@pytest.mark.postgresql
def test_a_direct_way_to_another_database(postgres_server):
    with altered(postgres_server) as url, altered(postgres_server, "CREATE SCHEMA bb") as other:
        database = open_database(url, random=None, in_threads=False)
        for direct in (other, f"{other}?options=-csearch_path%3Dbb"):
            with pytest.raises(StorageUnusable, match="database_direct_url leads to another"):
                migrate.prepare(database.writing, may_upgrade=False, now=NOW, sleep=None, direct_url=direct)
        assert migrate.prepare(database.writing, may_upgrade=False, now=NOW, sleep=None, direct_url=url)
        database.close()


def test_a_sqlite_file_of_another_program_stays_as_it_is(tmp_path):
    file = tmp_path / "theirs.db"
    with closing(sqlite3.connect(file)) as theirs:
        theirs.execute("CREATE TABLE bookmarks (x)")
    before = file.read_bytes()

    said = refusal(f"sqlite:///{file}")

    assert str(file) in said
    assert "bookmarks" in said
    assert file.read_bytes() == before


def test_an_empty_sqlite_file_is_ours(tmp_path):
    (tmp_path / "new.db").touch()
    maintenance.upgrade(f"sqlite:///{tmp_path / 'new.db'}", now=NOW)
    assert maintenance.schema_finding(f"sqlite:///{tmp_path / 'new.db'}").ok
