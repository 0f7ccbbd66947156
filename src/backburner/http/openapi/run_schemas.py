"""What answers about runs, steps and messages look like."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from backburner.http.openapi.job_schemas import Listed, Time, TokenUsage
from backburner.states import ItemStatus, JobStatus, ToolCallState


class Run(msgspec.Struct):
    """One item's conversation over all its rounds."""

    id: str
    object: Literal["run"]
    job_id: str
    item_id: str
    agent_id: str | None
    status: JobStatus
    stop_reason: str | None
    rounds: int
    usage: TokenUsage | None
    created_at: Time
    completed_at: Time | None
    metadata: dict[str, Any]


class RunList(Listed[Run]):
    """A page of runs."""


class ToolCall(msgspec.Struct):
    """A tool that the model wants called; in a run of an agent also what became of the call."""

    id: Any
    name: Any
    input: Any
    state: ToolCallState | msgspec.UnsetType = msgspec.UNSET
    is_error: bool | msgspec.UnsetType | None = msgspec.UNSET
    started_at: Time | msgspec.UnsetType | None = msgspec.UNSET
    finished_at: Time | msgspec.UnsetType | None = msgspec.UNSET


class Step(msgspec.Struct):
    """One item in one round: a request and what came back."""

    id: str
    object: Literal["step"]
    job_id: str
    item_id: str
    run_id: str
    custom_id: str
    agent_id: str | None
    round: int
    status: ItemStatus
    stop_reason: str | None
    model: str | None
    usage: TokenUsage | None
    cost_usd: float | None
    tool_calls: list[ToolCall]
    created_at: Time
    completed_at: Time | None


class StepList(Listed[Step]):
    """A page of steps."""


class Message(msgspec.Struct):
    """One message of a step: of its request, or the answer. The content is text or a list of blocks."""

    id: str
    object: Literal["message"]
    job_id: str
    item_id: str
    step_id: str
    round: int
    role: str
    content: Any
    created_at: Time


class MessageList(Listed[Message]):
    """A page of messages."""
