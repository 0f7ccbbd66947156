"""Jobs, their webhooks, and what happens to them."""

from __future__ import annotations

from backburner.http import create_job, deliveries, events, job_lists, jobs, update_job
from backburner.http.openapi.bodies import EVENT, EVENTS
from backburner.http.openapi.job_schemas import Delivery, DeliveryList, Job, JobList
from backburner.http.openapi.operation import Answer, Body, Operation, Operations

_JOB = Answer(about="The job.", type=Job, headers={"ETag": "Changes with the job."})
_LIST = Answer(about="A page of jobs.", type=JobList)
_STREAM = Answer(
    about="A stream of events. A comment comes every 15 seconds when nothing else does.",
    type=EVENTS,
    media="text/event-stream",
    example=EVENT,
)
_LAST_EVENT_ID = {"Last-Event-ID": "Go on behind this event."}
_LOCATION = {"Location": "Where the job is."}

OPERATIONS: Operations = {
    create_job.create_job: Operation(
        tag="Jobs",
        summary="Create a job",
        about="With a `handler` the server runs it; without one its owner moves it with `PATCH`.",
        bodies=[
            Body(
                type=create_job.NewJobRequest,
                example={"metadata": {"total_files": 12}, "deadline_seconds": 3600},
                required=False,
            )
        ],
        answers={
            202: Answer(about="The job was made.", type=Job, headers=_LOCATION),
            200: Answer(about="With `background: false`: the finished job.", type=Job, headers=_LOCATION),
        },
    ),
    job_lists.list_jobs: Operation(tag="Jobs", summary="List jobs", query=job_lists.JOBS_QUERY, answers={200: _LIST}),
    job_lists.list_active_jobs: Operation(
        tag="Jobs",
        summary="List active jobs",
        about="The same as `GET /v1/jobs?active=true`.",
        query=job_lists.JOBS_QUERY,
        answers={200: Answer(about="A page of jobs.", type=JobList, headers={"Deprecation": "Since when."})},
        deprecated=True,
    ),
    jobs.get_job: Operation(
        tag="Jobs",
        summary="Get a job",
        about="With `wait` the answer is held until the job changes, with `until=ended` until it has ended.",
        query=jobs.JOB_QUERY,
        headers={"If-None-Match": "Answer 304 while the job's `ETag` is this one."},
        answers={200: _JOB, 304: Answer(about="The job is as the client knows it.")},
    ),
    update_job.update_job: Operation(
        tag="Jobs",
        summary="Update a job",
        about=(
            "Metadata is merged one level deep; null deletes a key. The status of batches and of jobs with a handler "
            "is not the client's to set."
        ),
        headers={"If-Match": "Do it only while the job's `ETag` is this one."},
        bodies=[
            Body(
                type=update_job.JobChanges,
                example={"status": "running", "metadata": {"processed_files": 3}},
                required=False,
            )
        ],
        answers={200: _JOB},
        errors={409: "The job cannot go from its status to that one.", 412: "The job has changed."},
    ),
    jobs.delete_job: Operation(
        tag="Jobs",
        summary="Delete a job that has ended",
        about="With its items and results. Requests that a retry shares stay for it.",
        answers={200: Answer(about="The job as it was.", type=Job)},
        errors={409: "The job has not ended."},
    ),
    jobs.cancel_job: Operation(
        tag="Jobs",
        summary="Cancel a job",
        about="Finished results are kept. A cancel that was accepted always ends in `cancelled`.",
        answers={
            200: Answer(about="It is cancelled.", type=Job),
            202: Answer(about="The provider has to confirm.", type=Job),
        },
        errors={409: "The job has ended otherwise."},
    ),
    events.job_events: Operation(
        tag="Events",
        summary="Follow a job",
        about="Ends after the event of the job's end.",
        headers=_LAST_EVENT_ID,
        answers={200: _STREAM, 204: Answer(about="The client has seen the end; it need not come back.")},
    ),
    events.all_events: Operation(
        tag="Events",
        summary="Follow every job of the organization",
        headers=_LAST_EVENT_ID,
        answers={200: _STREAM},
    ),
    deliveries.list_deliveries: Operation(
        tag="Webhooks",
        summary="List a job's webhooks",
        query=deliveries.DELIVERIES_QUERY,
        answers={200: Answer(about="A page of deliveries, with every attempt.", type=DeliveryList)},
    ),
    deliveries.redeliver: Operation(
        tag="Webhooks",
        summary="Send a webhook again",
        about="With the same `webhook-id`.",
        answers={202: Answer(about="It will be sent now.", type=Delivery)},
        errors={409: "It is being sent already."},
    ),
}
