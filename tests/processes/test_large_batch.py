"""A batch with every kind of outcome: each item has exactly one result, byte for byte the provider's."""

from __future__ import annotations

import os
from collections import Counter

import httpx2
import msgspec
import pytest
from tests.processes.harness import (
    SANDBOX_HEADERS,
    Process,
    await_end,
    request_lines,
    sandbox,
    serve,
    submit,
    using,
)

pytestmark = pytest.mark.processes

#: Enough for several pages of several chunks; `ITEMS=100000` tries the real size.
ITEMS = int(os.environ.get("ITEMS", "6000"))


class Line(msgspec.Struct):
    custom_id: str
    result: msgspec.Raw


def provider_results(provider: Process, batch: dict[str, object]) -> dict[int, bytes]:
    """What the provider says of each item of one of its batches, by the item's index."""
    url = f"{provider.url}/v1/messages/batches/{batch['provider_batch_id']}/results"
    lines = httpx2.get(url, headers=SANDBOX_HEADERS, timeout=60).raise_for_status().content.splitlines()
    decoded = (msgspec.json.decode(line, type=Line) for line in lines)
    return {int(line.custom_id.rpartition("-")[2]): bytes(line.result) for line in decoded}


def test_every_item_has_one_result_byte_equal_to_the_providers(tmp_path):
    shares = ("--errored", "0.1", "--expired", "0.05", "--canceled", "0.05")
    with (
        sandbox(tmp_path, "--batch-seconds", "1-3", *shares) as provider,
        serve(tmp_path, environ=using(provider)) as server,
        server.client() as client,
    ):
        job = submit(client, request_lines(ITEMS))
        ended = await_end(client, job["id"])
        text = client.get(f"/v1/batches/{job['id']}/results").raise_for_status().content
        batches = client.get(f"/v1/batches/{job['id']}").json()["provider_batches"]["data"]
        sent = {index: raw for batch in batches for index, raw in provider_results(provider, batch).items()}

    stored = [msgspec.json.decode(line, type=Line) for line in text.splitlines()]
    assert [f"item-{number}" for number in range(ITEMS)] == [line.custom_id for line in stored]
    assert [sent[number] for number in range(ITEMS)] == [bytes(line.result) for line in stored]
    outcomes = Counter(msgspec.json.decode(raw)["type"] for raw in sent.values())
    assert {"succeeded", "errored", "expired", "canceled"} == set(outcomes)
    assert {"total": ITEMS, "processing": 0, **outcomes} == ended["request_counts"]
    used = Counter[str]()
    for raw in sent.values():
        message = msgspec.json.decode(raw).get("message") or {}
        used.update({name: message["usage"][name] for name in ended["usage"]} if message else {})
    assert dict(used) == ended["usage"]
    assert ended["stop_reason"] == "completed_with_errors"
