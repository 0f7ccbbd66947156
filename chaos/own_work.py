"""kill -9 of servers that call tools for agents and execute jobs: what was finished does not run again."""

from __future__ import annotations

import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import attrs
import httpx2
from tests.postgres import PostgresServer
from tests.processes.harness import Process, await_end, listed, provider_batches

from chaos.arena import arena
from chaos.crew import Crew
from chaos.ledger import Violation
from chaos.office import epoch_of
from chaos.outcome import Outcome

AGENTS, ROUNDS = 20, 3  # of one batch
JOBS = 40  # that a handler executes, for each batch of agents
MOST_ATTEMPTS = 1000  # a kill counts as an attempt
LATEST = 0.5  # seconds between the first call of a tool and the kill
NOTHING_HAPPENS = 20.0  # seconds after which it is killed anyway

#: Every function writes down when it begins and when it ends, before anybody can hear of it.
APP = """
    import pathlib
    import trio
    from backburner import App

    app = App()
    diary = pathlib.Path("diary.txt").open("a", buffering=1)

    def wrote(word, kind, key, attempt):
        diary.write(f"{word} {kind} {key} {attempt}\\n")

    async def worked(kind, key, attempt, seconds):
        wrote("begun", kind, key, attempt)
        await trio.sleep(seconds)
        wrote("ended", kind, key, attempt)

    @app.tool(idempotent=True)
    async def look(ctx) -> str:
        await worked("look", ctx.tool_use_id, ctx.attempt, 0.2)
        return "seen"

    @app.tool()
    async def pay(ctx) -> str:
        await worked("pay", ctx.tool_use_id, ctx.attempt, 0.2)
        return "paid"

    @app.handler("work", max_attempts=%d, backoff_seconds=0.1, backoff_cap_seconds=0.1)
    async def work(ctx, seconds: float = 0.3) -> int:
        await worked("work", ctx.job_id, ctx.attempt, seconds)
        return ctx.attempt
"""


@attrs.frozen
class Diary:
    """What has run, as the functions wrote it down: how often each attempt began and ended, by kind and key."""

    begun: Counter[tuple[str, str, int]]
    ended: Counter[tuple[str, str, int]]

    def attempts(self, kind: str, key: str) -> list[int]:
        return sorted(attempt for one, other, attempt in self.begun if (one, other) == (kind, key))


def read_diary(path: Path) -> Diary:
    diary = Diary(Counter(), Counter())
    for line in path.read_text().splitlines():
        word, kind, key, attempt = line.split()
        getattr(diary, word)[kind, key, int(attempt)] += 1
    return diary


def killed_at_work(
    database: PostgresServer | None,
    kills: int,
    *,
    seed: int = 0,
    until: float = float("inf"),
    forked: bool = True,
    progress: Callable[[str], None] = print,
) -> Outcome:
    """The leader is killed that often while agents and jobs are under way, and then everything comes to its end."""
    random = Random(seed)
    with arena(database, forked=forked) as found:
        (found.folder / "work_app.py").write_text(textwrap.dedent(APP % MOST_ATTEMPTS))
        crew = Crew(found, arguments=("--app", "work_app:app"))
        agents, jobs, done = [], [], 0
        for number in range(kills):
            if time.monotonic() > until:
                break
            with crew.leader.client() as client:
                agents.append(_submit_agents(client, number))
                jobs += [_submit_job(client) for _ in range(JOBS)]
            _await_call(found.folder / "diary.txt")
            time.sleep(random.uniform(0, LATEST))
            epoch = epoch_of(found.database)
            crew.leader.kill()
            crew.replace(epoch)
            done += 1
            if number % 5 == 4:
                progress(f"{done} kills, {len(agents) * AGENTS} agents, {len(jobs)} jobs")
        if not done:
            raise Violation("nobody was killed")
        audit = Audit(crew.leader, found.provider, found.folder / "diary.txt", agents, jobs)
        figures = audit.figures()
        found.check_database()
        return Outcome({"kills": done} | figures)


def _await_call(diary: Path) -> None:
    """Wait until the leader begins to call a tool."""
    known = diary.stat().st_size if diary.exists() else 0
    until = time.monotonic() + NOTHING_HAPPENS
    while time.monotonic() < until:
        if diary.exists() and {"look", "pay"} & set(diary.read_text()[known:].split()):
            return
        time.sleep(0.01)


def _submit_agents(client: httpx2.Client, number: int) -> str:
    texts = [f"[sandbox:agent={1 + n % ROUNDS}] question {number}-{n}" for n in range(AGENTS)]
    requests = [{"custom_id": f"item-{n}", "params": _params(text)} for n, text in enumerate(texts)]
    body = {"requests": requests, "agent": {"tools": ["look", "pay"], "max_rounds": ROUNDS + 1}}
    return str(client.post("/v1/batches", json=body).raise_for_status().json()["id"])


def _params(text: str) -> dict[str, Any]:
    return {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": text}]}


def _submit_job(client: httpx2.Client) -> str:
    answer = client.post("/v1/jobs", json={"handler": "work", "input": {}})
    return str(answer.raise_for_status().json()["id"])


@attrs.frozen
class Audit:
    """Looks at everything from outside, when it has ended. Raises Violation."""

    server: Process
    provider: Process
    diary: Path
    agents: list[str]
    jobs: list[str]

    def figures(self) -> dict[str, Any]:
        with self.server.client() as client:
            batches = [self._completed(await_end(client, job_id)) for job_id in self.agents]
            jobs = [self._completed(await_end(client, job_id)) for job_id in self.jobs]
            steps = [step for job_id in self.agents for step in listed(client, f"/v1/jobs/{job_id}/steps?order=asc")]
        diary = read_diary(self.diary)
        self._once_each(diary)
        calls = [call for step in steps for call in step["tool_calls"]]
        unknown = sum(self._unknown(diary, call) for call in calls)
        for job in jobs:
            if diary.attempts("work", job["id"])[-1] != job["result"]:
                raise Violation(f"{job['id']} was begun again after it had ended")
        turns = self._billed(batches, len(steps))
        again = sum(diary.begun.values()) - len(calls) - len(jobs)
        return {
            "agents": AGENTS * len(batches),
            "model turns, each billed once": turns,
            "tool calls": len(calls),
            "of those cut short, their outcome told as unknown": unknown,
            "jobs of a handler": len(jobs),
            "calls and jobs begun again after a kill": again,
        }

    def _completed(self, job: dict[str, Any]) -> dict[str, Any]:
        counts = job["request_counts"]
        if job["status"] != "completed" or (counts and counts["succeeded"] != AGENTS):
            raise Violation(f"{job['id']} is {job['status']} with {counts}, error {job['error']}")
        return job

    def _once_each(self, diary: Diary) -> None:
        twice = [attempt for attempt, count in diary.begun.items() if count > 1]
        if twice:
            raise Violation(f"begun twice: {twice[:5]}")

    def _unknown(self, diary: Diary, call: dict[str, Any]) -> bool:
        """Whether its outcome is told as unknown. A call that tells a result has ended, in its last attempt."""
        attempts = diary.attempts(call["name"], call["id"])
        if call["state"] != "finished":
            raise Violation(f"{call['tool_use_id']} is {call['state']} though its agent has ended")
        if call["name"] == "pay" and len(attempts) > 1:
            raise Violation(f"{call['tool_use_id']} was begun {len(attempts)} times and is not idempotent")
        if call["is_error"]:
            if call["name"] == "look":
                raise Violation(f"{call['tool_use_id']} may run again and was told as an error")
            return True
        if not diary.ended[call["name"], call["id"], attempts[-1]]:
            raise Violation(f"{call['tool_use_id']} has a result and has not ended")
        return False

    def _billed(self, batches: list[dict[str, Any]], turns: int) -> int:
        planned = sum(job["provider_batches"]["total"] for job in batches)
        made = provider_batches(self.provider)
        billed = sum(sum(batch["request_counts"].values()) for batch in made)
        if (len(made), billed) != (planned, turns):
            raise Violation(f"{planned} batches with {turns} turns were planned, {len(made)} with {billed} were made")
        return billed
