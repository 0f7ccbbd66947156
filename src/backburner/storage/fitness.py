"""Whether a database can be used at all. If not, one sentence says why, with the name or the grant in question."""

from __future__ import annotations

import re

import attrs
import sqlalchemy as sa

from backburner.errors import StorageUnusable
from backburner.storage.tables import metadata

REVISIONS, OURS = "alembic_version", "leader_epoch"  #: tables by which a database of ours is known
_REVISION = re.compile(r"v?[0-9]{4}")  # without v: of before the first release

_FACTS = sa.text("""
SELECT current_setting('server_encoding') AS encoding, current_database() AS name, current_schema() AS schema,
       current_user AS role, current_setting('search_path') AS search_path,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create
""")
_REVISION_OF = sa.text("SELECT version_num FROM alembic_version")
_WITHOUT_GRANTS = sa.text("""
SELECT relname FROM pg_class
 WHERE relname = ANY(:names) AND relkind = 'r' AND pg_table_is_visible(oid)
   AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
            AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
 ORDER BY relname LIMIT 1
""")
_IDENTITY = sa.text("""
SELECT (SELECT oid FROM pg_database WHERE datname = current_database()), current_schema(), pg_postmaster_start_time()
""")


@attrs.frozen(kw_only=True)
class Facts:
    """What the server says of the database and of us."""

    encoding: str
    name: str
    schema: str | None
    role: str
    search_path: str
    may_create: bool


def require_usable(tx: sa.Connection) -> None:
    """Raise StorageUnusable for a PostgreSQL database that cannot be ours.

    SQLite's files are looked at when they are opened.
    """
    if tx.dialect.name == "sqlite":
        return
    facts = Facts(**tx.execute(_FACTS).one()._asdict())
    tables = set(sa.inspect(tx).get_table_names())
    reason = unfit(facts) or _lacks_grants(tx, facts, tables) or foreign(facts, tables, _revision(tx, tables))
    if reason is not None:
        raise StorageUnusable(reason)


def _revision(tx: sa.Connection, tables: set[str]) -> str | None:
    return tx.execute(_REVISION_OF).scalar() if REVISIONS in tables else None


def unfit(facts: Facts) -> str | None:
    """Why no program like this could use the database."""
    if facts.encoding != "UTF8":
        return (
            f"The database {facts.name} has the encoding {facts.encoding}; it needs UTF8, which keeps every text: "
            "CREATE DATABASE NAME ENCODING 'UTF8' TEMPLATE template0."
        )
    if facts.schema is None:
        return (
            f"No schema of the search_path ({facts.search_path}) exists, or the role {facts.role} may not use it: "
            f"CREATE SCHEMA NAME, or GRANT USAGE ON SCHEMA NAME TO {facts.role}."
        )
    return None


def foreign(facts: Facts, tables: set[str], revision: str | None) -> str | None:
    """Which table there is another program's."""
    elsewhere = "Give Backburner a database of its own, or a schema (options=-csearch_path%3DNAME in the URL)."
    if OURS in tables and revision is not None and _REVISION.fullmatch(revision):
        return None
    if revision is not None:
        return f"The table {REVISIONS} in the schema {facts.schema} is another program's ({revision}). {elsewhere}"
    taken = sorted(tables & metadata.tables.keys())
    if taken:
        return f"The schema {facts.schema} has a table {taken[0]} that is not Backburner's. {elsewhere}"
    return None


def _lacks_grants(tx: sa.Connection, facts: Facts, tables: set[str]) -> str | None:
    """Which grant is missing."""
    if OURS not in tables:
        grant = f"GRANT CREATE ON SCHEMA {facts.schema} TO {facts.role}"
        return None if facts.may_create else f"The role {facts.role} may not make tables: {grant}."
    table = tx.execute(_WITHOUT_GRANTS, {"names": [*metadata.tables, REVISIONS]}).scalar()
    grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {facts.schema} TO {facts.role}"
    return None if table is None else f"The role {facts.role} may not read and write the table {table}: {grant}."


def require_same(one: sa.Engine, other: sa.Engine) -> None:
    """Raise StorageUnusable unless both engines lead to one schema of one database."""
    with one.connect() as first, other.connect() as second:
        if first.execute(_IDENTITY).one() != second.execute(_IDENTITY).one():
            raise StorageUnusable("database_direct_url leads to another database or schema than database_url.")
