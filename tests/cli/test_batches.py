"""`batches`, `scheduler` and `deliveries`: what they send and print."""

from __future__ import annotations

import json

import pytest
from tests.client.fakes import ok, page, refusal

BATCH = {"id": "batch-1", "status": "quarantined", "job_id": "job-1", "item_count": 3, "error": {"code": "ambiguous"}}


def test_batches_of_unknown_fate_are_listed(terminal):
    ran = terminal.run("batches", "list", answers=[page(BATCH)])
    assert ran.server.paths == ["GET /v1/admin/batches?limit=50&status=unknown&status=quarantined"]
    heading, row = ran.out.splitlines()
    assert (heading.split()[:2], row.split()[:2]) == (["ID", "STATUS"], ["batch-1", "quarantined"])


def test_batches_are_listed_by_a_status_as_it_is_shown(terminal):
    ran = terminal.run("batches", "list", "--status", "quarantined", answers=[page(BATCH)])
    assert ran.server.paths == ["GET /v1/admin/batches?limit=50&status=quarantined"]


def test_every_open_batch_can_be_listed_and_one_shown(terminal):
    ran = terminal.run("batches", "list", "--open", "--json", answers=[page(BATCH)])
    assert "status=planned" in ran.server.paths[0]
    assert "status=closed" not in ran.server.paths[0]
    assert json.loads(ran.out) == BATCH
    shown = terminal.run("batches", "show", "batch-1", answers=[ok(BATCH)])
    assert "code=ambiguous" in shown.out


@pytest.mark.parametrize(
    ("command", "path", "body"),
    [
        (["adopt", "batch-1", "msgbatch_1"], "adopt", b'{"provider_batch_id":"msgbatch_1"}'),
        (["abandon", "batch-1"], "abandon", b""),
        (["poll", "batch-1"], "poll", b""),
    ],
)
def test_a_batch_is_settled_by_hand(terminal, command, path, body):
    ran = terminal.run("batches", *command, answers=[ok(BATCH)])
    assert (ran.code, ran.out, ran.server.bodies) == (0, "", [body])
    assert ran.server.paths == [f"POST /v1/admin/batches/batch-1/{path}"]
    assert ran.err.startswith("batch-1 is ")


def test_batches_of_a_provider_that_is_gone_are_moved(terminal):
    ran = terminal.run("batches", "move", "--from", "sandbox", "--to", "anthropic", answers=[ok({"batches": 3})])
    assert ran.server.paths == ["POST /v1/admin/providers/sandbox/move-batches"]
    assert ran.server.bodies == [b'{"to":"anthropic"}']
    assert ran.err == "3 planned batches of sandbox go to anthropic from now on.\n"


def test_batches_of_a_provider_that_is_gone_are_ended_page_by_page(terminal):
    answers = [ok({"batches": 500, "has_more": True}), ok({"batches": 7, "has_more": False})]
    ran = terminal.run("batches", "end", "--provider", "sandbox", answers=answers)
    assert ran.server.paths == ["POST /v1/admin/providers/sandbox/end-batches"] * 2
    assert ran.err == "507 batches of sandbox are ended.\n"


def test_a_batch_whose_fate_is_known_stays_as_it_is(terminal):
    ran = terminal.run("batches", "abandon", "batch-1", answers=[refusal(409, message="No.")])
    assert (ran.code, ran.err) == (1, "Error: No. [req_1]\n")


@pytest.mark.parametrize("action", ["poll", "pause", "resume", "step-down"])
def test_the_switches_are_in_reach(terminal, action):
    ran = terminal.run("scheduler", action, answers=[ok({"is_leader": True})])
    assert (ran.code, ran.server.paths) == (0, [f"POST /v1/admin/scheduler/{action}"])


def test_webhooks_are_listed_and_sent_again(terminal):
    attempt = {"number": 1, "at": "2026-01-01T00:00:00Z", "status_code": 500, "error": None, "duration_ms": 3}
    delivery = {
        "id": "delivery-1",
        "type": "job.completed",
        "status": "failed",
        "attempts": [attempt],
        "url": "http://x",
    }
    listed = terminal.run("deliveries", "list", "job-1", answers=[page(delivery)])
    assert listed.out.splitlines()[1].split() == ["delivery-1", "job.completed", "failed", "1", "500", "-", "http://x"]
    sent = terminal.run("deliveries", "redeliver", "job-1", "delivery-1", answers=[ok(delivery, 202)])
    assert sent.server.paths == ["POST /v1/jobs/job-1/deliveries/delivery-1/redeliver"]
