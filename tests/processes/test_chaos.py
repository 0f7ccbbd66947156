"""The quick part of `scripts/chaos`: a few kills at chosen moments, a full disk, a pooler, a backup put back."""

from __future__ import annotations

import pytest
from chaos import many_jobs, outside, own_work, postgres_faults, sqlite_faults
from chaos.kills import KINDS, kill_loop

pytestmark = pytest.mark.processes


def test_kills_in_the_middle_of_everything_lose_nothing_and_pay_nothing_twice():
    found = kill_loop(None, len(KINDS), progress=lambda _: None).figures

    assert found["kills"] == len(KINDS)
    assert found["items"] > 0


def test_a_backup_made_under_load_is_put_back_and_nothing_is_paid_for_twice():
    assert outside.restored().figures["restore"].endswith("before they are submitted")


def test_a_full_disk_turns_requests_away_and_loses_nothing():
    figures = sqlite_faults.disk_full(calm=True).figures
    (answers,) = (answers for what, answers in figures.items() if what.startswith("answers while"))

    assert answers["503"] > 0


@pytest.mark.postgresql
def test_kills_in_the_middle_of_tools_and_jobs_run_nothing_again_that_had_ended(postgres_server):
    found = own_work.killed_at_work(postgres_server, 1, progress=lambda _: None).figures

    assert (found["kills"], found["agents"]) == (1, own_work.AGENTS)
    assert found["tool calls"] > 0


@pytest.mark.postgresql
def test_two_servers_share_a_queue_and_one_that_is_killed_loses_no_job(postgres_server):
    found = many_jobs.many_jobs(postgres_server, 400).figures

    assert found["jobs, each completed once"] == 400
    assert len(found["ended by each server"]) == 2


@pytest.mark.postgresql
def test_an_instance_behind_a_transaction_pooler_does_not_lead_and_says_why(postgres_server):
    assert "pooler" in postgres_faults.pooled(postgres_server).figures["refusal"]
