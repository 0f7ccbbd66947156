"""Why the fence is SELECT … FOR SHARE: an old leader's open transaction against a new leader's bump of the epoch.

Random faults do not hit this window; it takes two sessions and one order of statements.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import psycopg
import pytest
import sqlalchemy as sa
from tests.storage.both import NOW

from backburner.errors import LeadershipLost
from backburner.model import Term
from backburner.storage import fence, migrate
from backburner.storage.database import open_database
from backburner.storage.facts import get_fact, set_fact

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


# --- the program's own statements --------------------------------------------------------------------------


@pytest.fixture
def leaders(postgres_database: str) -> Iterator[tuple[sa.Connection, sa.Connection]]:
    """Sessions of an old leader and of a new one, on the real schema."""
    database = open_database(postgres_database, random=Random(0), in_threads=False)
    migrate.prepare(database.writing, may_upgrade=False, now=NOW, sleep=lambda _: None)
    with database.writing.connect() as old, database.writing.connect() as new:
        new.execute(sa.text("SET lock_timeout = '100ms'"))
        new.commit()
        yield old, new
    database.close()


def begun(session: sa.Connection, term_id: str) -> Term | None:
    """The new term; None while it has to wait."""
    try:
        term = fence.begin_term(session, term_id=term_id, instance_id=term_id, now=NOW)
    except sa.exc.OperationalError:
        session.rollback()
        return None
    session.commit()
    return term


def test_a_new_term_waits_for_a_write_of_the_old_one_which_then_changes_nothing_more(leaders):
    old, new = leaders
    term = begun(old, "old")
    assert term is not None
    fence.fenced(old, term, set_fact, "written", "by the old", now=NOW)
    assert begun(new, "new") is None
    old.commit()
    assert begun(new, "new") is not None
    with pytest.raises(LeadershipLost):
        fence.fenced(old, term, set_fact, "written", "too late", now=NOW)
    old.rollback()
    assert get_fact(old, "written") == "by the old"


def test_the_fence_is_asked_before_anything_is_done(leaders):
    old, _ = leaders
    term = begun(old, "old")
    asked: list[str] = []
    sa.event.listen(old, "before_cursor_execute", lambda _c, _u, statement, *_: asked.append(statement))
    fence.fenced(old, term, set_fact, "written", "by the old", now=NOW)
    assert "leader_epoch" in asked[0]
    assert asked[0].endswith("FOR SHARE")
    assert len(asked) > 1


def test_a_term_of_the_same_number_but_another_name_is_fenced_off(leaders):
    """After a failover to a replica that lagged behind, a number may be given twice."""
    old, new = leaders
    term = begun(old, "old")
    new.execute(sa.text("UPDATE leader_epoch SET epoch = 0, term_id = ''"))
    new.commit()
    again = begun(new, "new")
    assert (term.epoch, again.epoch) == (1, 1)
    with pytest.raises(LeadershipLost):
        fence.fence(old, term)
