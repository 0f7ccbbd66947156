"""An instance is killed at some of its steps; `./scripts/simulate --crash-points` kills it at each."""

from __future__ import annotations

import sqlite3
from itertools import count
from random import Random

import pytest
from simulation.crash_points import SCENARIOS, crash_at

from backburner.clock import SystemClock
from backburner.storage import migrate
from backburner.storage.database import Database, open_database

EVERY = 233
STEPS = 700


@pytest.mark.parametrize("step", range(1, STEPS, EVERY))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_crash_at_any_step_changes_nothing_in_the_end(scenario, step):
    step += 9 * list(SCENARIOS).index(scenario)  # not the same steps of each
    assert crash_at(scenario, step) == ""


@pytest.mark.parametrize("instructions", [1, 100, 1000, 3000])
def test_a_migration_that_is_cut_off_is_done_by_the_next_start(instructions):
    database = open_database("sqlite://", random=Random(0), in_threads=False)
    _prepared_until(database, instructions)
    done = migrate.prepare(database.writing, may_upgrade=False, now=SystemClock().now(), sleep=lambda _: None)
    with database.writing.connect() as tx:
        assert migrate.schema_of(tx) is migrate.Schema.CURRENT
    assert len(done) == 1
    database.close()


def _prepared_until(database: Database, instructions: int) -> None:
    """Migrate, and break off after so many instructions of SQLite's machine."""
    pooled = database.writing.raw_connection()
    connection = pooled.driver_connection
    pooled.close()
    assert isinstance(connection, sqlite3.Connection)
    done = count(1)
    connection.set_progress_handler(lambda: next(done) == instructions, 1)  # once: the rollback goes through
    with pytest.raises(Exception, match="interrupted"):
        migrate.prepare(database.writing, may_upgrade=False, now=SystemClock().now(), sleep=lambda _: None)
    connection.set_progress_handler(None, 0)
