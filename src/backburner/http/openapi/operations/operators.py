"""What operators and probes ask."""

from __future__ import annotations

from backburner.http import absent, health, job_lists, provider_batches, scheduler
from backburner.http.openapi import operator_schemas as schemas
from backburner.http.openapi.job_schemas import JobList
from backburner.http.openapi.operation import Answer, Body, Operation, Operations

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
    provider_batches.list_batches: Operation(
        tag="Operations",
        summary="List provider batches of every organization",
        query=provider_batches.BATCHES_QUERY,
        answers={200: Answer(about="A page of them, newest first.", type=schemas.UnresolvedBatchList)},
    ),
    provider_batches.list_unresolved: Operation(
        tag="Operations",
        summary="List provider batches of unknown fate",
        query=provider_batches.UNRESOLVED_QUERY,
        answers={200: Answer(about="A page of them, oldest first.", type=schemas.UnresolvedBatchList)},
    ),
    provider_batches.get_batch: Operation(
        tag="Operations",
        summary="Get a provider batch",
        answers={200: Answer(about="The provider batch.", type=schemas.UnresolvedBatch)},
    ),
    provider_batches.adopt_batch: Operation(
        tag="Operations",
        summary="Say which provider batch a lost submission made",
        about="Should its results turn out to be of other requests, the adoption is undone and the search goes on.",
        bodies=[Body(type=provider_batches.Adoption, example={"provider_batch_id": "msgbatch_01Hk"})],
        answers={200: Answer(about="It is polled from now on.", type=schemas.UnresolvedBatch)},
        errors={409: "Its fate is known, or the provider batch is another's."},
    ),
    provider_batches.abandon_batch: Operation(
        tag="Operations",
        summary="Give up a provider batch of unknown fate",
        about="Its items end as errored.",
        answers={200: Answer(about="It is closed.", type=schemas.AbandonedBatch)},
        errors={409: "Its fate is known."},
    ),
    provider_batches.poll_batch: Operation(
        tag="Operations",
        summary="Look at a provider batch now",
        about="Whatever it was waiting for. It is done by whichever instance leads.",
        answers={200: Answer(about="It is due.", type=schemas.UnresolvedBatch)},
        errors={409: "It is final."},
    ),
    absent.move_batches: Operation(
        tag="Operations",
        summary="Move planned batches of a provider that is not configured any more",
        about="Another provider is sent them; further rounds of agents go there as well.",
        bodies=[Body(type=absent.Move, example={"to": "anthropic"})],
        answers={200: Answer(about="How many were moved.", type=schemas.DecidedBatches)},
        errors={409: "The provider is configured.", 422: "There is no provider `to`."},
    ),
    absent.end_batches: Operation(
        tag="Operations",
        summary="End batches of a provider that is not configured any more",
        about="Their items end as errored, `provider_absent`. Some hundreds at a time: repeat while `has_more`.",
        bodies=[Body(type=absent.End, example={"at_provider": False})],
        answers={200: Answer(about="How many were ended.", type=schemas.DecidedBatches)},
        errors={409: "The provider is configured."},
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
