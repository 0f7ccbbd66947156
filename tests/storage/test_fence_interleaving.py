"""Why the fence is SELECT … FOR SHARE: an old leader's open transaction against a new leader's bump of the epoch.

Random faults do not hit this window; it takes two sessions and one order of statements.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

pytestmark = pytest.mark.postgresql

SCHEMA = """
CREATE TABLE leader_epoch (name text PRIMARY KEY, epoch bigint NOT NULL, term_id text NOT NULL);
CREATE TABLE work (epoch bigint NOT NULL, seen_epoch bigint NOT NULL);
INSERT INTO leader_epoch VALUES ('default', 1, 'old');
"""
FENCE = "SELECT 1 FROM leader_epoch WHERE name = 'default' AND epoch = 1 AND term_id = 'old'"
BUMP = "UPDATE leader_epoch SET epoch = 2, term_id = 'new' WHERE name = 'default'"
WRITE = "INSERT INTO work SELECT 1, epoch FROM leader_epoch"


@pytest.fixture
def sessions(postgres_database: str) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
    with psycopg.connect(postgres_database) as old, psycopg.connect(postgres_database) as new:
        old.execute(SCHEMA)
        old.commit()
        new.execute("SET lock_timeout = '100ms'")
        new.commit()
        yield old, new


def bump(session: psycopg.Connection) -> bool:
    """Whether the new term could begin; a short lock_timeout stands for waiting."""
    try:
        session.execute(BUMP)
    except psycopg.errors.LockNotAvailable:
        session.rollback()
        return False
    session.commit()
    return True


def stale_commit(sessions: tuple[psycopg.Connection, psycopg.Connection], lock: str) -> bool:
    """Whether the old leader, past its fence, can commit a write beside a newer term."""
    old, new = sessions
    assert old.execute(f"{FENCE} {lock}").fetchone() == (1,)
    bump(new)
    old.execute(WRITE)
    old.commit()
    return old.execute("SELECT count(*) FROM work WHERE epoch < seen_epoch").fetchone() == (1,)


def test_the_new_term_waits_for_a_fenced_transaction_and_then_cuts_off_the_next(sessions):
    old, new = sessions
    assert not stale_commit(sessions, "FOR SHARE")
    old.commit()
    assert bump(new)
    assert old.execute(f"{FENCE} FOR SHARE").fetchone() is None


@pytest.mark.parametrize("weaker", ["", "FOR KEY SHARE"])
def test_a_weaker_fence_lets_a_stale_write_through(sessions, weaker):
    assert stale_commit(sessions, weaker)


def test_two_fenced_transactions_of_one_term_do_not_wait_for_each_other(sessions):
    old, other = sessions
    assert old.execute(f"{FENCE} FOR SHARE").fetchone() == (1,)
    assert other.execute(f"{FENCE} FOR SHARE").fetchone() == (1,)
