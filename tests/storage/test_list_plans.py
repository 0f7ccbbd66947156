"""Lists stay on their indexes: no table is read through, and what is sorted is a page, never the table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa

from backburner.states import ACTIVE, JobStatus, JobType
from backburner.storage import job_lists, migrate, runs
from backburner.storage.database import Database, open_database
from backburner.storage.job_lists import JobFilter, Part, Scope
from backburner.storage.runs import RunSpan

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = "job-019b76da-a800-7000-8000-000000000000"
PAGE = Part(limit=50, after=PLACE, before=None, ascending=False)
MINE = Scope(organization=1)


@pytest.fixture
def database():
    found = open_database("sqlite://", random=Random(0), in_threads=False)
    migrate.prepare(found.writing, may_upgrade=False, now=NOW, sleep=lambda _: None)
    yield found
    found.close()


def plan_of(database: Database, statement: sa.Select[Any], values: Mapping[str, Any]) -> list[str]:
    """The steps of a query's plan."""
    statement = statement.params(values)
    text = str(statement.compile(database.reading, compile_kwargs={"literal_binds": True}))
    with database.reading.connect() as tx:
        return [row[3] for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]


@pytest.mark.parametrize(
    ("scope", "chosen", "index"),
    [
        (MINE, JobFilter(), "ix_jobs_organization_id_public_id"),
        (MINE, JobFilter(created_after=NOW), "ix_jobs_organization_id_public_id"),
        (MINE, JobFilter(statuses=[JobStatus.RUNNING]), "ix_jobs_organization_id_job_type_status_public_id"),
        (MINE, JobFilter(job_type=JobType.BATCH), "ix_jobs_organization_id_job_type_status_public_id"),
        (MINE, JobFilter(agent_id="a", statuses=[JobStatus.FAILED], job_type=JobType.JOB), "ix_jobs_of_agent"),
        (MINE, JobFilter(metadata={"a": "b"}, statuses=[JobStatus.FAILED]), "ix_job_metadata_found"),
        (MINE, JobFilter(metadata={"a": "b", "c": "d"}, agent_id="a"), "ix_job_metadata_found"),
        (MINE, JobFilter(metadata={"a": "b"}, statuses=ACTIVE), "ix_jobs_organization_id_job_type_status_public_id"),
        (Scope(), JobFilter(), "sqlite_autoindex_jobs_1"),
        (Scope(), JobFilter(statuses=ACTIVE), "ix_jobs_job_type_status_public_id"),
        (Scope(), JobFilter(metadata={"a": "b"}), "ix_job_metadata_found"),
        (Scope(user=1), JobFilter(user_id="u", statuses=[JobStatus.FAILED]), "ix_jobs_user_id_public_id"),
    ],
)
def test_every_filter_of_jobs_has_its_index(database, scope, chosen, index):
    plan = plan_of(database, *job_lists.listing(scope, chosen, PAGE))
    first = next(step for step in plan if step.startswith("SEARCH"))
    assert index in first
    assert not [step for step in plan if step.startswith("SCAN jobs")]


@pytest.mark.parametrize(
    ("span", "index", "sorts"),
    [
        (RunSpan(), "uq_jobs_with_items", 0),
        (RunSpan(low=(PLACE, 7)), "uq_jobs_with_items", 0),
        (RunSpan(high=(PLACE, 7), forward=False, statuses=[JobStatus.FAILED]), "uq_jobs_with_items", 0),
        # The runs of one agent.
        (RunSpan(agent_ids=["a"]), "ix_items_of_agent", 1),
        (RunSpan(agent_ids=["a", "b"]), "ix_items_of_agent", 1),
    ],
)
def test_runs_come_in_the_order_of_an_index(database, span, index, sorts):
    plan = plan_of(database, *runs.listing("sqlite", 1, span, limit=50))
    first = next(step for step in plan if step.startswith("SEARCH"))
    assert index in first
    assert len([step for step in plan[: plan.index("SCAN picked")] if "ORDER BY" in step]) == sorts
