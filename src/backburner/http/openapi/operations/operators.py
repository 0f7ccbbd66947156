"""What operators and probes ask."""

from __future__ import annotations

from backburner.http import health, job_lists, scheduler
from backburner.http.openapi import operator_schemas as schemas
from backburner.http.openapi.job_schemas import JobList
from backburner.http.openapi.operation import Answer, Operation, Operations

_STATUS = Answer(about="The server as it is then.", type=schemas.SchedulerStatus)
_METRICS = Operation(
    tag="Health",
    summary="Numbers for Prometheus",
    answers={
        200: Answer(
            about="Prometheus text.",
            type={"type": "string"},
            media="text/plain",
            example='backburner_active_jobs{status="running"} 3.0\n',
        )
    },
)

OPERATIONS: Operations = {
    job_lists.list_all_jobs: Operation(
        tag="Operations",
        summary="List jobs of every organization",
        about="Keys of the first organization see everybody's; others their own.",
        query=job_lists.ALL_JOBS_QUERY,
        answers={200: Answer(about="A page of jobs.", type=JobList)},
    ),
    scheduler.get_status: Operation(tag="Operations", summary="Who leads, and what is open", answers={200: _STATUS}),
    scheduler.poll: Operation(
        tag="Operations", summary="Poll now", about="Whichever instance leads.", answers={200: _STATUS}
    ),
    scheduler.pause_polling: Operation(
        tag="Operations",
        summary="Stop polling",
        about="On every instance and through restarts, until it is resumed.",
        answers={200: _STATUS},
    ),
    scheduler.resume_polling: Operation(
        tag="Operations",
        summary="Go on polling",
        about="Also tries a provider again that waits for a person.",
        answers={200: _STATUS},
    ),
    scheduler.list_unresolved: Operation(
        tag="Operations",
        summary="List provider batches of unknown fate",
        query=scheduler.UNRESOLVED_QUERY,
        answers={200: Answer(about="A page of them, oldest first.", type=schemas.UnresolvedBatchList)},
    ),
    scheduler.abandon_batch: Operation(
        tag="Operations",
        summary="Give up a provider batch of unknown fate",
        about="Its items end as errored.",
        answers={200: Answer(about="It is closed.", type=schemas.AbandonedBatch)},
        errors={409: "Its fate is known."},
    ),
    scheduler.step_down: Operation(
        tag="Operations",
        summary="Give leadership away",
        about="Another instance takes over, if there is one.",
        answers={200: _STATUS},
        errors={409: "This instance does not lead."},
    ),
    health.healthz: Operation(
        tag="Health", summary="Is the process up?", answers={200: Answer(about="It is.", type=schemas.Health)}
    ),
    health.readyz: Operation(
        tag="Health",
        summary="Can it take requests?",
        answers={200: Answer(about="The database answers and nothing is in the way.", type=schemas.Health)},
    ),
    health.metrics: _METRICS,
    health.public_metrics: _METRICS,
}
