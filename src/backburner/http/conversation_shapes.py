"""Runs, steps and messages as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from backburner.conversation import Message, Run, Step
from backburner.http.conversation_ids import made_id, message_id, run_id, step_id
from backburner.model import Usage
from backburner.times import rfc3339

JsonObject = dict[str, Any]


def run_json(run: Run) -> JsonObject:
    return {
        "id": run_id(run),
        "object": "run",
        "job_id": run.job_id,
        "item_id": made_id("item", run.job_id, run.index),
        "agent_id": run.agent_id,
        "status": run.status,
        "stop_reason": run.stop_reason,
        "rounds": run.rounds,
        "usage": _usage(run.usage),
        "created_at": rfc3339(run.created_at),
        "completed_at": _time(run.completed_at),
        "metadata": run.metadata,
    }


def step_json(step: Step) -> JsonObject:
    """A step. Its cost is null where no prices are known."""
    return {
        "id": step_id(step),
        "object": "step",
        "job_id": step.job_id,
        "item_id": made_id("item", step.job_id, step.index),
        "run_id": made_id("run", step.job_id, step.index),
        "custom_id": step.custom_id,
        "agent_id": step.agent_id,
        "round": step.round,
        "status": step.status,
        "stop_reason": step.stop_reason,
        "model": step.model,
        "usage": _usage(step.usage),
        "cost_usd": step.cost_usd,
        "tool_calls": list(step.tool_calls),
        "created_at": rfc3339(step.created_at),
        "completed_at": _time(step.completed_at),
    }


def message_json(message: Message) -> JsonObject:
    return {
        "id": message_id(message),
        "object": "message",
        "job_id": message.job_id,
        "item_id": made_id("item", message.job_id, message.index),
        "step_id": made_id("step", message.job_id, message.index, message.round),
        "round": message.round,
        "role": message.role,
        "content": message.content,
        "created_at": rfc3339(message.created_at),
    }


def _usage(usage: Usage | None) -> JsonObject | None:
    return None if usage is None else msgspec.structs.asdict(usage)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
