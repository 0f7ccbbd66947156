"""The schema: made by migrations alone, the same on both databases, and never by accident."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import attrs
import pytest
import sqlalchemy as sa
import trio
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from tests.actors.office import FakeLeadership, Place, leader_of, running
from tests.storage.both import NOW

from backburner.errors import StorageUnusable
from backburner.storage import migrate
from backburner.storage.database import open_database
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
    set_revision(empty, "v9999")
    with pytest.raises(StorageUnusable, match="newer than this program"):
        prepare(empty, may_upgrade=True)


def test_a_schema_of_before_the_first_release_is_refused_and_left_alone(empty: sa.Engine):
    prepare(empty)
    set_revision(empty, "0007")
    with pytest.raises(StorageUnusable, match=r"before the first release \(schema 0007\).*another database_url\.$"):
        prepare(empty, may_upgrade=True)
    with empty.connect() as tx:
        assert migrate.revision_of(tx) == "0007"
        assert tx.execute(sa.text("SELECT count(*) FROM leader_epoch")).scalar() == 1


async def test_an_instance_leads_no_more_once_a_newer_program_has_upgraded_the_database(
    empty: sa.Engine, autojump_clock
):
    prepare(empty)
    database = attrs.evolve(
        open_database("sqlite://", random=Random(0), in_threads=False), writing=empty, reading=empty
    )
    office = FakeLeadership(Place())
    leader = leader_of(office, objection=partial(database.read, migrate.outgrown))
    async with running(leader):
        await trio.sleep(4)
        assert leader.is_leader
        set_revision(empty, "v9999")
        await trio.sleep(60)
        assert not leader.is_leader
        assert "newer than this program" in str(leader.refusal)
    assert [event for _, event in office.place.events[:2]] == ["a on duty", "a off duty"]


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let this program be a later one, which has one more migration; its revision."""
    scripts = tmp_path / "migrations"
    shutil.copytree(migrate.SCRIPTS, scripts)
    (scripts / "versions" / "0002_next.py").write_text(
        "from alembic import op\n"
        f'revision, down_revision = "v0002", "{HEAD}"\n'
        "def upgrade():\n"
        '    op.execute("CREATE TABLE novelties (id INTEGER)")\n'
    )
    monkeypatch.setattr(migrate, "SCRIPTS", scripts)
    monkeypatch.setattr(migrate, "HEAD", "v0002")
    return "v0002"


@pytest.fixture
def old(empty: sa.Engine, next_release: str) -> sa.Engine:
    alembic(empty, "upgrade", HEAD)
    return empty


def test_an_old_schema_on_postgresql_waits_for_a_person(old: sa.Engine, next_release: str):
    if old.dialect.name == "sqlite":
        pytest.skip("SQLite is upgraded by itself")
    with pytest.raises(StorageUnusable, match="db upgrade"):
        prepare(old)
    assert prepare(old, may_upgrade=True) == [f"migrated from {HEAD} to {next_release}"]


def test_an_old_sqlite_file_is_copied_before_it_is_upgraded(old: sa.Engine, next_release: str):
    if old.dialect.name != "sqlite":
        pytest.skip("PostgreSQL is backed up with its own tools")
    with old.begin() as tx:
        tx.execute(sa.text("INSERT INTO organizations (public_id, name, created_at) VALUES ('org-1', 'x', '2026')"))
    backed_up, migrated = prepare(old)
    copy = Path(backed_up.removeprefix("backed up to "))
    assert migrated == f"migrated from {HEAD} to {next_release}"
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)
        assert connection.execute("SELECT public_id FROM organizations").fetchall() == [("org-1",)]
    connection.close()
    with old.connect() as tx:
        assert tx.execute(sa.text("SELECT public_id FROM organizations")).scalars().all() == ["org-1"]
