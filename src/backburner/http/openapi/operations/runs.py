"""Runs, steps and messages."""

from __future__ import annotations

from backburner.http import create_run, runs, steps
from backburner.http.openapi.job_schemas import Job
from backburner.http.openapi.operation import Answer, Body, Operation, Operations
from backburner.http.openapi.run_schemas import MessageList, Run, RunList, Step, StepList

_LOCATION = {"Location": "Where the job is."}
_NEW_RUN = {
    "params": {
        "model": "claude-haiku-4-5",
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
    },
    "agent": {"tools": ["weather"], "max_rounds": 5},
}
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
    create_run.create_run: Operation(
        tag="Runs",
        summary="Start a run",
        about="One conversation of an agent: a job of type `run` with one item.",
        bodies=[Body(type=create_run.NewRun, example=_NEW_RUN)],
        answers={202: Answer(about="The run's job was made.", type=Job, headers=_LOCATION)},
    ),
    create_run.fork_run: Operation(
        tag="Runs",
        summary="Go on from a step of a run",
        about="A new run whose first request is that of the step; `params` replace members of it.",
        bodies=[Body(type=create_run.Fork, example={"round": 2, "params": {"max_tokens": 2048}}, required=False)],
        answers={202: Answer(about="The new run's job was made.", type=Job, headers=_LOCATION)},
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
