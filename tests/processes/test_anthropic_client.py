"""Anthropic's own client against a real server, over sockets."""

from __future__ import annotations

from pathlib import Path

import anthropic
import httpx2
import pytest
from tests.processes.harness import KEY, await_end, sandbox, serve, using

from backburner.http.anthropic.ids import job_id_of

pytestmark = pytest.mark.processes

OLDER = {"anthropic-version": "2023-06-01", "x-api-key": KEY, "anthropic-beta": "message-batches-2024-09-24"}


def requests(count: int) -> list[anthropic.types.messages.batch_create_params.Request]:
    return [
        {
            "custom_id": f"item-{number}",
            "params": {
                "model": "claude-haiku-5-5",
                "max_tokens": 64 if number else 0,
                "messages": [{"role": "user", "content": f"question {number}"}],
            },
        }
        for number in range(count)
    ]


def test_a_batch_is_made_followed_and_read_by_an_unmodified_client(tmp_path: Path):
    with (
        sandbox(tmp_path, "--batch-seconds", "0-0") as provider,
        serve(tmp_path, environ=using(provider)) as server,
        anthropic.Anthropic(api_key=KEY, base_url=f"{server.url}/anthropic") as client,
    ):
        batch = client.messages.batches.create(requests=requests(50))
        with server.client() as ours:
            await_end(ours, job_id_of(batch.id) or "")
        ended = client.messages.batches.retrieve(batch.id)
        lines = list(client.messages.batches.results(batch.id))
        counts = ended.request_counts
        assert (ended.processing_status, counts.succeeded, counts.errored) == ("ended", 49, 1)
        assert ended.results_url == f"/v1/messages/batches/{batch.id}/results"
        assert [line.custom_id for line in lines] == [f"item-{number}" for number in range(50)]
        assert [line.result.type for line in lines] == ["errored"] + ["succeeded"] * 49
        older = httpx2.get(f"{server.url}/anthropic/v1/messages/batches?beta=true", headers=OLDER)
        assert [row["id"] for row in older.json()["data"]] == [batch.id]
        assert client.messages.batches.delete(batch.id).id == batch.id
