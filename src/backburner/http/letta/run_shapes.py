"""Runs and steps as Letta's clients know them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from backburner.conversation import Run, Step
from backburner.errors import Invalid
from backburner.http.conversation_ids import made_id, run_id, step_id
from backburner.http.letta.job_shapes import time_json
from backburner.model import Usage
from backburner.states import ItemStatus, JobStatus
from backburner.times import rfc3339

JsonObject = dict[str, Any]

#: Letta's runs know fewer states.
RUN_STATUS = {JobStatus.PENDING: "created", JobStatus.EXPIRED: "failed"}
#: What each of Letta's states of a run is here.
STATUSES_OF = {
    "created": (JobStatus.CREATED, JobStatus.PENDING),
    "running": (JobStatus.RUNNING,),
    "completed": (JobStatus.COMPLETED,),
    "failed": (JobStatus.FAILED, JobStatus.EXPIRED),
    "cancelled": (JobStatus.CANCELLED,),
}
_STEP_STATUS = {
    ItemStatus.PROCESSING: "pending",
    ItemStatus.SUCCEEDED: "success",
    ItemStatus.ERRORED: "failed",
    ItemStatus.EXPIRED: "failed",
    ItemStatus.CANCELED: "cancelled",
}
#: Reasons that Letta has a word for.
_REASONS = {
    "end_turn": "end_turn",
    "stop_sequence": "end_turn",
    "tool_use": "requires_approval",
    "max_tokens": "max_tokens_exceeded",
    "error": "error",
    "expired": "error",
    "cancelled": "cancelled",
    "max_rounds": "max_steps",
    "token_limit": "max_tokens_exceeded",
    "cost_limit": "insufficient_credits",
    "invalid_tool_call": "invalid_tool_call",
    "deadline_exceeded": "error",
    "lookback_exceeded": "error",
}
#: Those that nothing here ends with.
_OTHER_REASONS = frozenset(
    {
        "context_window_overflow_in_system_prompt",
        "insufficient_credits",
        "invalid_llm_response",
        "invalid_tool_call",
        "llm_api_error",
        "max_steps",
        "no_tool_call",
        "tool_rule",
    }
)


def reasons_of(word: str) -> list[str]:
    """Our words for one of Letta's; none for one that nothing here ends with. Raises Invalid."""
    found = [ours for ours, theirs in _REASONS.items() if theirs == word]
    if not found and word not in _OTHER_REASONS:
        raise Invalid(f"{word!r} is no stop reason.", param="stop_reason")
    return found


def stop_reason_of(run: Run) -> str:
    """Letta's word for why a run ended; where it has none, the one for how."""
    ended = {JobStatus.COMPLETED: "end_turn", JobStatus.CANCELLED: "cancelled"}.get(run.status, "error")
    return _REASONS.get(run.stop_reason or "", ended)


def letta_run(run: Run) -> JsonObject:
    """A run; agents here are labels, so one without a label has an empty one."""
    return {
        "id": run_id(run),
        "agent_id": run.agent_id or "",
        "status": RUN_STATUS.get(run.status, run.status),
        "created_at": rfc3339(run.created_at),
        "completed_at": time_json(run.completed_at),
        "base_template_id": None,
        "background": True,
        "metadata": run.metadata,
        "request_config": None,
        "stop_reason": _REASONS.get(run.stop_reason or ""),
        "callback_url": None,
        "callback_sent_at": None,
        "callback_status_code": None,
        "callback_error": None,
        "ttft_ns": None,
        "total_duration_ns": _nanoseconds(run.created_at, run.completed_at),
        "conversation_id": None,
    }


def usage_json(usage: Usage | None) -> JsonObject:
    """Tokens; what was written to and read from the cache counts as prompt."""
    used = usage or Usage()
    prompt = used.input_tokens + used.cache_creation_input_tokens + used.cache_read_input_tokens
    return {
        "completion_tokens": used.output_tokens,
        "prompt_tokens": prompt,
        "total_tokens": prompt + used.output_tokens,
    }


def usage_statistics(run: Run) -> JsonObject:
    """What a run used."""
    return usage_json(run.usage) | {"message_type": "usage_statistics", "step_count": run.rounds}


def letta_step(step: Step) -> JsonObject:
    """A step."""
    failed = step.status in (ItemStatus.ERRORED, ItemStatus.EXPIRED)
    return {
        "id": step_id(step),
        "origin": None,
        "provider_id": None,
        "job_id": step.job_id,
        "run_id": made_id("run", step.job_id, step.index),
        "agent_id": step.agent_id,
        "provider_name": None,
        "provider_category": None,
        "model": step.model,
        "model_endpoint": None,
        "context_window_limit": None,
        **usage_json(step.usage),
        "completion_tokens_details": None,
        "stop_reason": _REASONS.get(step.stop_reason or ""),
        "tags": list(step.tags),
        "tid": None,
        "trace_id": None,
        "messages": [],
        "feedback": step.feedback,
        "project_id": None,
        "error_type": step.status.value if failed else None,
        "error_data": None,
        "status": _STEP_STATUS[step.status],
    }


def step_metrics(step: Step, organization_id: str) -> JsonObject:
    """How long a step took; what a batch does not tell is null."""
    taken = _nanoseconds(step.created_at, step.completed_at)
    return {
        "id": step_id(step),
        "organization_id": organization_id,
        "provider_id": None,
        "job_id": step.job_id,
        "run_id": made_id("run", step.job_id, step.index),
        "agent_id": step.agent_id,
        "step_start_ns": _epoch_ns(step.created_at),
        "llm_request_start_ns": _epoch_ns(step.created_at),
        "llm_request_ns": taken,
        "tool_execution_ns": None,
        "step_ns": taken,
        "base_template_id": None,
        "template_id": None,
        "project_id": None,
    }


def run_metrics(run: Run, organization_id: str) -> JsonObject:
    """How long a run took."""
    return {
        "id": run_id(run),
        "organization_id": organization_id,
        "agent_id": run.agent_id or "",
        "project_id": None,
        "run_start_ns": _epoch_ns(run.created_at),
        "run_ns": _nanoseconds(run.created_at, run.completed_at),
        "num_steps": run.rounds,
        "tools_used": None,
        "base_template_id": None,
        "template_id": None,
    }


def _nanoseconds(begin: datetime, end: datetime | None) -> int | None:
    return None if end is None else _epoch_ns(end) - _epoch_ns(begin)


def _epoch_ns(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1000
