"""kill -9 in the middle of a tool: what was under way runs again only if it may, and the agent gets to its answer."""

from __future__ import annotations

import textwrap

import pytest
from tests.processes.harness import await_end, provider_batches, sandbox, serve, using

pytestmark = pytest.mark.processes

TOOLS = """
    import pathlib
    import trio
    from backburner import App

    app = App()
    begun = pathlib.Path("begun.txt")

    async def take(name):
        with begun.open("a") as file:
            file.write(name + "\\n")
        await trio.sleep(1.5)
        return name + " is done"

    @app.tool(idempotent=True)
    async def look() -> str:
        return await take("look")

    @app.tool()
    async def pay() -> str:
        return await take("pay")
"""
AGENT = {"tools": ["look", "pay"], "max_rounds": 4}
QUESTION = {"role": "user", "content": "[sandbox:agent=1]"}
PARAMS = {"model": "claude-haiku-4-5", "max_tokens": 500, "messages": [QUESTION]}


def test_a_server_killed_in_the_middle_of_a_tool_gets_to_the_same_end(tmp_path):
    (tmp_path / "tools.py").write_text(textwrap.dedent(TOOLS))
    begun = tmp_path / "begun.txt"
    started = ("--database", f"sqlite:///{tmp_path / 'jobs.db'}", "--app", "tools:app")
    with sandbox(tmp_path, "--batch-seconds", "0.5") as provider:
        with serve(tmp_path, *started, environ=using(provider)) as server:
            with server.client() as client:
                job = client.post("/v1/runs", json={"params": PARAMS, "agent": AGENT}).raise_for_status().json()
                while not begun.exists() or len(begun.read_text().split()) < 2:
                    client.get("/healthz")
            server.kill()
        with serve(tmp_path, *started, environ=using(provider)) as server, server.client() as client:
            ended = await_end(client, job["id"])
            steps = client.get(f"/v1/jobs/{job['id']}/steps").json()["data"]
            said = client.get(f"/v1/jobs/{job['id']}/messages").json()["data"]
            assert server.stop() == 0
        assert len(provider_batches(provider)) == 2
    assert (ended["status"], ended["stop_reason"]) == ("completed", "end_turn")
    assert [(call["name"], call["state"], call["is_error"]) for call in steps[0]["tool_calls"]] == [
        ("look", "finished", False),
        ("pay", "finished", True),
    ]
    assert sorted(begun.read_text().split()) == ["look", "look", "pay"]
    looked, paid = (block["content"] for block in said[2]["content"])
    assert looked == "look is done"
    assert "not known whether 'pay' has run" in paid
