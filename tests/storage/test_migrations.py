"""The schema: made by migrations alone, the same on both databases, and never by accident."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from tests.storage.both import NOW, Stock

from backburner.errors import StorageUnusable
from backburner.states import JobType
from backburner.storage import migrate
from backburner.storage.database import open_database
from backburner.storage.handler_jobs import Child, QueueRules, child_of, make_handler_job
from backburner.storage.migrations import HEAD
from backburner.storage.tables import metadata


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'test.db'}" if sqlite else request.getfixturevalue("postgres_database")
    database = open_database(url, random=Random(0), in_threads=False)
    yield database.writing
    database.close()


def prepare(engine: sa.Engine, *, may_upgrade: bool = False) -> list[str]:
    return migrate.prepare(engine, may_upgrade=may_upgrade, now=NOW, sleep=lambda _: None)


def scripts() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrate.SCRIPTS))
    return config


def alembic(engine: sa.Engine, what: str, revision: str) -> None:
    config = scripts()
    with engine.begin() as tx:
        config.attributes["connection"] = tx
        getattr(command, what)(config, revision)


def set_revision(engine: sa.Engine, revision: str) -> None:
    with engine.begin() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def test_an_empty_database_is_prepared_by_itself_once(empty: sa.Engine):
    assert prepare(empty) == [f"migrated from nothing to {HEAD}"]
    assert prepare(empty) == []


def test_the_tables_are_what_the_migrations_make(empty: sa.Engine):
    prepare(empty)
    with empty.connect() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": True, "compare_server_default": False})
        assert compare_metadata(context, metadata) == []


def test_migrations_go_down_and_up_again(empty: sa.Engine):
    prepare(empty)
    alembic(empty, "downgrade", "base")
    with empty.connect() as tx:
        assert set(sa.inspect(tx).get_table_names()) <= {"alembic_version", "sqlite_sequence"}
    alembic(empty, "upgrade", "head")
    assert prepare(empty) == []


def test_head_is_the_newest_migration():
    directory = ScriptDirectory.from_config(scripts())
    assert directory.get_heads() == [HEAD]
    revisions = [script.revision for script in directory.walk_revisions()]
    assert revisions == sorted(revisions, reverse=True)  # so that newer and older can be told


def test_a_newer_schema_is_refused(empty: sa.Engine):
    prepare(empty)
    set_revision(empty, "9999")
    with pytest.raises(StorageUnusable, match="newer than this program"):
        prepare(empty, may_upgrade=True)


def test_an_old_schema_on_postgresql_waits_for_a_person(empty: sa.Engine):
    if empty.dialect.name == "sqlite":
        pytest.skip("SQLite is upgraded by itself")
    alembic(empty, "upgrade", "0001")
    with pytest.raises(StorageUnusable, match="db upgrade"):
        prepare(empty)
    assert prepare(empty, may_upgrade=True) == [f"migrated from 0001 to {HEAD}"]


def test_batches_that_handlers_have_made_are_still_theirs_after_an_upgrade(empty: sa.Engine):
    alembic(empty, "upgrade", "0006")
    with empty.begin() as tx:
        stock = Stock(tx)
        stock.first_organization()
        parent = make_handler_job(tx, stock.new_job(job_type=JobType.JOB, handler="h"), QueueRules(3), now=NOW)
        made = stock.job(metadata={"parent_job_id": parent.id, "child_key": "mine"})
        stock.job(metadata={"parent_job_id": "job-of-before", "child_key": "mine"})
    prepare(empty, may_upgrade=True)
    with empty.connect() as tx:
        assert child_of(tx, Child(parent.id, "mine")) == made.id
        assert child_of(tx, Child(parent.id, "other")) is None


def test_an_old_sqlite_file_is_copied_before_it_is_upgraded(empty: sa.Engine):
    if empty.dialect.name != "sqlite":
        pytest.skip("PostgreSQL is backed up with its own tools")
    alembic(empty, "upgrade", "0001")
    with empty.begin() as tx:
        tx.execute(sa.text("INSERT INTO organizations (public_id, name, created_at) VALUES ('org-1', 'x', '2026')"))
    backed_up, migrated = prepare(empty)
    copy = Path(backed_up.removeprefix("backed up to "))
    assert migrated == f"migrated from 0001 to {HEAD}"
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        assert connection.execute("SELECT public_id FROM organizations").fetchall() == [("org-1",)]
    connection.close()
    with empty.connect() as tx:
        assert tx.execute(sa.text("SELECT public_id FROM organizations")).scalars().all() == ["org-1"]
