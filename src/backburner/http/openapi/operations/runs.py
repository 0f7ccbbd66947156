"""Runs, steps and messages."""

from __future__ import annotations

from backburner.http import runs, steps
from backburner.http.openapi.operation import Answer, Operation, Operations
from backburner.http.openapi.run_schemas import MessageList, Run, RunList, Step, StepList

_STEPS = Answer(about="A page of steps.", type=StepList)
_MESSAGES = Answer(about="A page of messages.", type=MessageList)
_SHAPED = "The job's `request_config` says which are shown, and how."

OPERATIONS: Operations = {
    steps.list_job_steps: Operation(
        tag="Runs", summary="List a job's steps", query={**steps.STEPS, **steps.ITEM}, answers={200: _STEPS}
    ),
    steps.list_job_messages: Operation(
        tag="Runs",
        summary="List a job's messages",
        about=_SHAPED,
        query={**steps.MESSAGES, **steps.ITEM},
        answers={200: _MESSAGES},
    ),
    runs.list_runs: Operation(
        tag="Runs",
        summary="List runs",
        about="Of every batch of the organization: a run is one item's conversation.",
        query=runs.RUNS,
        answers={200: Answer(about="A page of runs.", type=RunList)},
    ),
    runs.get_run: Operation(tag="Runs", summary="Get a run", answers={200: Answer(about="The run.", type=Run)}),
    runs.list_run_steps: Operation(tag="Runs", summary="List a run's steps", query=steps.STEPS, answers={200: _STEPS}),
    runs.list_run_messages: Operation(
        tag="Runs",
        summary="List a run's messages",
        about=_SHAPED,
        query=steps.MESSAGES,
        answers={200: _MESSAGES},
    ),
    steps.get_step: Operation(tag="Runs", summary="Get a step", answers={200: Answer(about="The step.", type=Step)}),
    steps.list_step_messages: Operation(
        tag="Runs",
        summary="List a step's messages",
        about=_SHAPED,
        query=steps.MESSAGES,
        answers={200: _MESSAGES},
    ),
}
