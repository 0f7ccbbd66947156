"""Several processes on one database, and one process asked to stop."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.processes.harness import (
    BASE,
    KEY,
    await_end,
    provider_batches,
    request_lines,
    results,
    run,
    sandbox,
    serve,
    starting,
    submit,
    using,
)
from tests.processes.receiver import Receiver

pytestmark = pytest.mark.processes


@pytest.mark.postgresql
def test_the_other_instance_finishes_the_work_of_a_killed_leader(tmp_path, postgres_database):
    with sandbox(tmp_path, "--batch-seconds", "3") as provider:
        options = ("--database", postgres_database)
        with (
            serve(tmp_path, *options, environ=using(provider)) as first,
            serve(tmp_path, *options, environ=using(provider)) as second,
            second.client() as client,
        ):
            job = submit(client, request_lines(3000), chunk_items="1000")
            while client.get(f"/v1/jobs/{job['id']}").json()["status"] == "pending":
                pass
            first.kill()
            ended = await_end(client, job["id"])
            status = client.get("/v1/admin/scheduler/status").json()

            assert (first.role, second.role) == ("leader", "standby")
            assert (ended["status"], ended["request_counts"]["succeeded"]) == ("completed", 3000)
            assert len(provider_batches(provider)) == 3
            assert (status["is_leader"], status["leader"]["epoch"]) == (True, 2)


def batches_of(client: httpx2.Client, job_id: str) -> list[dict[str, Any]]:
    return list(client.get(f"/v1/batches/{job_id}").raise_for_status().json()["provider_batches"]["data"])


@pytest.mark.postgresql
def test_the_sandbox_inside_the_servers_outlives_the_leader(tmp_path, postgres_database):
    """The first failover that anyone tries: two servers, no provider of their own, kill -9."""
    options, environ = ("--database", postgres_database), {"BACKBURNER_SANDBOX_BATCH_SECONDS": "10"}
    with (
        serve(tmp_path, *options, environ=environ) as first,
        serve(tmp_path, *options, environ=environ) as second,
        second.client() as client,
    ):
        job = submit(client, request_lines(600), chunk_items="200")
        while {batch["status"] for batch in batches_of(client, job["id"])} != {"submitted"}:
            pass
        first.kill()
        ended = await_end(client, job["id"])
        assert (first.role, second.role) == ("leader", "standby")
        assert (ended["status"], ended["request_counts"]["succeeded"]) == ("completed", 600)
        assert len(results(client, job["id"])) == 600


def test_a_second_process_on_one_sqlite_file_is_refused_with_the_holders_name(tmp_path):
    with serve(tmp_path) as server:
        refused = run(tmp_path, "serve", environ=BASE)

        assert refused.returncode == 1
        assert f"process {server.popen.pid}" in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1


def test_a_standby_takes_over_the_file_of_a_killed_server(tmp_path):
    with serve(tmp_path) as first, first.client() as client:
        job = submit(client, request_lines(20))
        first.kill()
    with serve(tmp_path, "--standby") as second, second.client() as client:
        assert await_end(client, job["id"])["status"] == "completed"


def test_a_standby_has_loaded_the_providers_sdk_before_it_takes_over(tmp_path):
    with serve(tmp_path) as first, starting(tmp_path, "--standby", log="standby.log") as second:
        deadline = time.monotonic() + 60
        maps = Path(f"/proc/{second.popen.pid}/maps")
        while "pydantic_core" not in maps.read_text():  # which only the SDK uses
            assert time.monotonic() < deadline, second.log.read_text()
        first.kill()
        assert second.ready().role == "leader"


def test_the_idempotency_keys_of_a_killed_server_are_free_at_once(tmp_path):
    key = {"idempotency-key": "k-1", "content-type": "application/x-ndjson"}
    with serve(tmp_path) as first, first.client() as client:

        def killed_within() -> Iterator[bytes]:
            yield request_lines(2000)
            with closing(sqlite3.connect(tmp_path / "backburner.db")) as database:
                while not database.execute("SELECT count(*) FROM idempotency_keys").fetchone()[0]:
                    pass
            first.kill()
            yield b""

        with pytest.raises(httpx2.TransportError):
            client.post("/v1/batches", content=killed_within(), headers=key)
    with serve(tmp_path) as second, second.client() as client:
        again = client.post("/v1/batches", content=request_lines(2), headers=key)

        assert again.status_code == 202, again.text
        assert [job["id"] for job in client.get("/v1/jobs").json()["data"]] == [again.json()["id"]]


def test_sigterm_in_the_middle_of_everything_loses_nothing(tmp_path):
    with sandbox(tmp_path, "--batch-seconds", "1") as provider, Receiver() as receiver:
        with serve(tmp_path, environ=using(provider)) as server, server.client() as client:
            job = submit(client, request_lines(4000), chunk_items="500", callback_url=receiver.url)
            while client.get(f"/v1/jobs/{job['id']}").json()["request_counts"]["succeeded"] == 0:
                pass
            assert server.stop(timeout=15) == 0
        with serve(tmp_path, environ=using(provider)) as server, server.client() as client:
            ended = await_end(client, job["id"])
            stored = results(client, job["id"])
            receiver.await_one()

        assert (ended["status"], ended["request_counts"]["succeeded"], len(stored)) == ("completed", 4000, 4000)
        assert len(provider_batches(provider)) == 8


def test_a_cancelled_job_keeps_what_was_finished_and_tells_the_provider(tmp_path):
    with sandbox(tmp_path, "--batch-seconds", "1-4") as provider, Receiver() as receiver:
        with serve(tmp_path, environ=using(provider)) as server, server.client() as client:
            job = submit(client, request_lines(4000), chunk_items="500", callback_url=receiver.url)
            while client.get(f"/v1/jobs/{job['id']}").json()["request_counts"]["succeeded"] == 0:
                pass
            accepted = client.post(f"/v1/jobs/{job['id']}/cancel")
            ended = await_end(client, job["id"])
            stored = results(client, job["id"])
            receiver.await_one()

        counts = ended["request_counts"]
        assert accepted.status_code == 202
        assert (ended["status"], ended["stop_reason"]) == ("cancelled", "cancelled_by_user")
        assert counts["succeeded"] > 0
        assert counts["canceled"] > 0
        assert 4000 == counts["succeeded"] + counts["canceled"] == len(stored)
        assert any(batch["cancel_initiated_at"] for batch in provider_batches(provider))
        assert [body["type"] for body in receiver.bodies] == ["job.cancelled"]


def test_an_unreachable_database_is_one_clear_line(tmp_path):
    refused = run(tmp_path, "serve", "--database", "postgresql://nobody@127.0.0.1:9/none", environ=BASE)

    assert refused.returncode == 1
    assert "127.0.0.1" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_wrong_setting_is_one_line_and_exit_status_2(tmp_path):
    refused = run(tmp_path, "serve", environ=BASE | {"BACKBURNER_POLL_CONCURRENCY": "many"})

    assert refused.returncode == 2
    assert "poll_concurrency" in refused.stderr
    assert KEY not in refused.stderr
