"""kill -9 at any moment: after a restart everything ends as if nothing had happened."""

from __future__ import annotations

import pytest
from tests.processes.harness import (
    Process,
    await_end,
    provider_batches,
    request_lines,
    results,
    sandbox,
    serve,
    submit,
    using,
)
from tests.processes.receiver import Receiver

pytestmark = pytest.mark.processes

ITEMS = 3000
CHUNKS = 3


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return request.getfixturevalue("postgres_database")


def before_the_answer(server: Process, job_id: str) -> None:
    """At once: the first submission is under way or not yet begun."""


def while_polling(server: Process, job_id: str) -> None:
    with server.client() as client:
        while client.get(f"/v1/jobs/{job_id}").json()["status"] == "pending":
            pass


def in_the_middle_of_the_results(server: Process, job_id: str) -> None:
    with server.client() as client:
        while client.get(f"/v1/jobs/{job_id}").json()["request_counts"]["succeeded"] == 0:
            pass


@pytest.mark.parametrize("moment", [before_the_answer, while_polling, in_the_middle_of_the_results])
def test_a_killed_server_loses_nothing_and_pays_nothing_twice(tmp_path, database, moment):
    with sandbox(tmp_path, "--batch-seconds", "1", "--latency", "0.1") as provider, Receiver() as receiver:
        with serve(tmp_path, "--database", database, environ=using(provider)) as server:
            with server.client() as client:
                job = submit(client, request_lines(ITEMS), chunk_items="1000", callback_url=receiver.url)
            moment(server, job["id"])
            server.kill()
        with serve(tmp_path, "--database", database, environ=using(provider)) as server, server.client() as client:
            ended = await_end(client, job["id"])
            stored = results(client, job["id"])
            receiver.await_one()
            assert server.stop() == 0

        assert (ended["status"], ended["request_counts"]["succeeded"]) == ("completed", ITEMS)
        assert [f"item-{number}" for number in range(ITEMS)] == [line["custom_id"] for line in stored]
        assert ended["usage"]["output_tokens"] == sum(
            line["result"]["message"]["usage"]["output_tokens"] for line in stored
        )
        assert len(provider_batches(provider)) == CHUNKS
        assert {job["id"]} == {body["job_id"] for body in receiver.bodies}
