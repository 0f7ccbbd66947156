"""The leader's session on PostgreSQL: how it is opened, and whether it is fit to hold the lock."""

from __future__ import annotations

import hashlib

import attrs
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from backburner.storage.sessions import Use

MINIMUM_VERSION = 140_000

#: How long a frozen or cut off session may hold things up on the server.
LIMITS = {"idle_in_transaction_session_timeout": "5s", "statement_timeout": "5s", "lock_timeout": "2s"}
#: Seconds that one answer may take. A server that is well answers within LIMITS.
PATIENCE = 10.0


def leader_conninfo(dsn: str, instance_id: str, evict_after: float) -> str:
    """The user's connection string with the settings that leadership needs; `evict_after` is in seconds."""
    evict = {"idle_session_timeout": f"{milliseconds(evict_after)}ms"}
    leading = Use(name=f"backburner-leader/{instance_id}", settings={**evict, **LIMITS}, patience=PATIENCE)
    return make_conninfo("", **leading.parameters(conninfo_to_dict(dsn)))


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


#: Asked before any lock is: a lock that shows all the same is somebody else's, on a backend that we share.
CHECK = """
SELECT pg_is_in_recovery(), current_setting('server_version_num')::int,
       (SELECT setting::int FROM pg_settings WHERE name = 'idle_session_timeout'),
       EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
       pg_backend_pid(), current_schema()
"""
POOLED = "the connection goes through a transaction pooler; leading needs a direct one (set database_direct_url)"
DROPPED = (
    "the server or a proxy dropped our setting idle_session_timeout; leading needs a direct connection "
    "(set database_direct_url)"
)


@attrs.frozen
class SessionFacts:
    """The columns of `CHECK`."""

    in_recovery: bool
    version: int
    idle_session_timeout: int | None  #: milliseconds
    holds_advisory_lock: bool
    backend_pid: int
    schema: str | None


def objection(facts: list[SessionFacts], driver_pid: int, evict_after: int) -> str | None:
    """Why this session must not lead; None when it may.

    `facts` are the answers to several `CHECK`s on it, `driver_pid` is what the server said when it connected,
    `evict_after` the idle_session_timeout that we asked for, in milliseconds.
    """
    first = facts[0]
    if first.version < MINIMUM_VERSION:
        return f"PostgreSQL 14 or later is needed, this is {first.version // 10_000}"
    if first.in_recovery:
        return "the server is a read-only standby"
    if any(fact.holds_advisory_lock for fact in facts) or {fact.backend_pid for fact in facts} != {driver_pid}:
        return POOLED
    if any(fact.idle_session_timeout != evict_after for fact in facts):
        return DROPPED
    if first.schema is None:
        return "no schema of the search_path exists"
    return None


def lock_key(schema: str) -> int:
    """The advisory lock's key: the same for every instance on one schema, a signed 64-bit integer."""
    digest = hashlib.sha256(b"backburner leader\0" + schema.encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
