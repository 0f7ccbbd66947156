"""Runs, steps and messages: what the clients ask for, and the records they get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from backburner.client.asks import Ask, Page, listing, segment
from backburner.client.results import Job, Usage, record

#: Which lists of steps and messages there are: by how the id of what they belong to begins.
_STEPS_OF = {"job": "jobs", "run": "runs"}
_MESSAGES_OF = {**_STEPS_OF, "step": "steps"}


@attrs.frozen(kw_only=True)
class Run:
    """One item's conversation, over all its rounds."""

    id: str
    status: str
    job_id: str | None = None
    item_id: str | None = None
    agent_id: str | None = None
    stop_reason: str | None = None
    rounds: int = 1
    usage: Usage | None = None  #: None while nothing was answered
    created_at: datetime | None = None
    completed_at: datetime | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict)  #: the job's
    raw: dict[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class Step:
    """One item in one round: a request, and what came back."""

    id: str
    status: str
    job_id: str | None = None
    item_id: str | None = None
    run_id: str | None = None
    custom_id: str | None = None
    agent_id: str | None = None
    round: int = 1
    stop_reason: str | None = None  #: of the model
    model: str | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    tool_calls: Sequence[dict[str, Any]] = ()
    created_at: datetime | None = None
    completed_at: datetime | None = None
    raw: dict[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class Message:
    """One message of a step: of its request, or the answer."""

    id: str
    role: str
    content: Any = None  #: text, or a list of blocks
    job_id: str | None = None
    item_id: str | None = None
    step_id: str | None = None
    round: int = 1
    created_at: datetime | None = None
    raw: dict[str, Any] = attrs.field(factory=dict, repr=False, eq=False)

    @property
    def text(self) -> str:
        """The text in it, without tool calls and thoughts."""
        if isinstance(self.content, str):
            return self.content
        blocks = self.content if isinstance(self.content, list) else ()
        return "".join(block["text"] for block in blocks if isinstance(block, dict) and block.get("type") == "text")


def runs(filters: Mapping[str, Any]) -> Ask[Page[Run]]:
    return listing("/v1/runs", record(Run), filters)


def run(run_id: str) -> Ask[Run]:
    return Ask(method="GET", path=f"/v1/runs/{segment(run_id)}", read=record(Run))


def start_run(params: Mapping[str, Any], fields: Mapping[str, Any], key: str | None) -> Ask[Job]:
    asked = {"params": dict(params), **fields}
    return Ask(method="POST", path="/v1/runs", json=asked, read=record(Job), idempotency_key=key)


def fork_run(run_id: str, fields: Mapping[str, Any], key: str | None) -> Ask[Job]:
    path = f"/v1/runs/{segment(run_id)}/fork"
    return Ask(method="POST", path=path, json=dict(fields), read=record(Job), idempotency_key=key)


def steps(whose: str, filters: Mapping[str, Any]) -> Ask[Page[Step]]:
    """`whose` is the id of a job or of a run. Raises ValueError for another."""
    return listing(f"/v1/{_kind(whose, _STEPS_OF)}/{segment(whose)}/steps", record(Step), filters)


def step(step_id: str) -> Ask[Step]:
    return Ask(method="GET", path=f"/v1/steps/{segment(step_id)}", read=record(Step))


def messages(whose: str, filters: Mapping[str, Any]) -> Ask[Page[Message]]:
    """`whose` is the id of a job, of a run or of a step. Raises ValueError for another."""
    return listing(f"/v1/{_kind(whose, _MESSAGES_OF)}/{segment(whose)}/messages", record(Message), filters)


def _kind(whose: str, known: Mapping[str, str]) -> str:
    kind = whose.partition("-")[0]
    if kind not in known:
        raise ValueError(f"{whose!r} is not the id of a {' or a '.join(known)}.")
    return known[kind]
