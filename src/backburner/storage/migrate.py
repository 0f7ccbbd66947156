"""Bringing a database's schema to what this program expects, and refusing what it cannot."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa

from backburner.errors import StorageUnavailable, StorageUnusable
from backburner.private_files import free_name
from backburner.storage import backups, fitness, postgresql
from backburner.storage.migrations import HEAD, UNRELEASED
from backburner.storage.urls import parse_url

LOCK_KEY = zlib.crc32(b"backburner migrations")  # not the leader's
LOCK_TRIES = 300  # tenths of a second
SCRIPTS = Path(__file__).parent / "migrations"


class Schema(StrEnum):
    """How a database's schema relates to this program's."""

    EMPTY = "empty"
    UNRELEASED = "of before the first release"
    OLD = "old"
    CURRENT = "current"
    NEWER = "newer"


def revision_of(tx: sa.Connection) -> str | None:
    """The revision that a database says it has; None when it has no tables of ours."""
    if not sa.inspect(tx).has_table("alembic_version"):
        return None
    return tx.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def schema_of(tx: sa.Connection) -> Schema:
    """Revisions are numbers that grow, so an unknown larger one is a newer program's."""
    revision = revision_of(tx)
    if revision is None:
        return Schema.EMPTY
    if revision in UNRELEASED:
        return Schema.UNRELEASED
    if revision == HEAD:
        return Schema.CURRENT
    return Schema.NEWER if revision > HEAD else Schema.OLD


def refusal(found: Schema, revision: str | None) -> str | None:
    """Why this program can do nothing with such a database, and what to do about it; None when it can."""
    if found is Schema.NEWER:
        return f"The database's schema ({revision}) is newer than this program ({HEAD}). Install the newer backburner."
    if found is Schema.UNRELEASED:
        return (
            f"The database was made before the first release (schema {revision}) and cannot be upgraded. It is left as "
            "it is: finish its jobs with the version that made it, and give this one another database_url."
        )
    return None


def outgrown(tx: sa.Connection) -> str | None:
    """Why this program must lead no more: a newer one has upgraded the database meanwhile. None as long as it may."""
    revision = tx.execute(_REVISION).scalar()
    return refusal(Schema.NEWER, revision) if revision is not None and revision > HEAD else None


_REVISION = sa.text("SELECT version_num FROM alembic_version")


def prepare(
    engine: sa.Engine,
    *,
    may_upgrade: bool,
    now: datetime,
    sleep: Callable[[float], None],
    keep_copy: bool = True,
    direct_url: str | None = None,
) -> list[str]:
    """Make the schema current, and return what was done, for people. Blocking.

    `direct_url` leads to the same PostgreSQL database past a pooler.

    SQLite upgrades by itself, after a backup beside the file (with `keep_copy`). PostgreSQL is upgraded by itself only
    when it is empty; an old schema needs `may_upgrade`. Raises StorageUnusable for a schema that is newer, old, or of
    before the first release, StorageUnavailable when another instance keeps migrating.
    """
    if direct_url is not None:
        direct = postgresql.operating_engine(parse_url(direct_url))
        fitness.require_same(engine, direct)
        engine = direct
    with engine.connect() as tx:
        fitness.require_usable(tx)
        found = schema_of(tx)
        revision = revision_of(tx)
    if found is Schema.CURRENT:
        return []
    if reason := refusal(found, revision):
        raise StorageUnusable(reason)
    if engine.dialect.name == "sqlite":
        return _upgrade_sqlite(engine, found if keep_copy else None, revision, now)
    if found is Schema.OLD and not may_upgrade:
        raise StorageUnusable(
            f"The database's schema ({revision}) is older than this program ({HEAD}). "
            "Run `backburner db upgrade`, or start with --migrate."
        )
    return _upgrade_postgresql(engine.url, sleep)


def _upgrade_sqlite(engine: sa.Engine, found: Schema | None, revision: str | None, now: datetime) -> list[str]:
    done: list[str] = []
    path = engine.url.database
    if found is Schema.OLD and path and path != ":memory:":
        copy = free_name(Path(f"{path}.backup-{revision}-{now:%Y%m%dT%H%M%SZ}"))
        backups.back_up(Path(path), copy)
        done.append(f"backed up to {copy}")
    return done + _upgrade(engine)


def _upgrade(engine: sa.Engine) -> list[str]:
    with engine.begin() as tx:
        return _upgrade_within(tx)


def _upgrade_within(tx: sa.Connection) -> list[str]:
    # Alembic takes a while to import, and a database is seldom migrated.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    before = revision_of(tx)
    if before == HEAD:
        return []  # another instance was faster
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = tx
    command.upgrade(config, "head")
    return [f"migrated from {before or 'nothing'} to {HEAD}"]


def _upgrade_postgresql(url: sa.URL, sleep: Callable[[float], None]) -> list[str]:
    """One instance at a time, in a session without a server's time-outs.

    The lock is the transaction's, so it holds behind a transaction pooler too. It is polled, because a session that
    blocks on an advisory lock holds a snapshot that others then wait for.
    """
    engine = postgresql.operating_engine(url)
    for _ in range(LOCK_TRIES):
        with engine.begin() as tx:
            if tx.execute(sa.text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": LOCK_KEY}).scalar():
                return _upgrade_within(tx)
        sleep(0.1)
    raise StorageUnavailable("Another instance is migrating the database; try again when it is done.")
