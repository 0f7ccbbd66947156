"""Batches, their items and results."""

from __future__ import annotations

from backburner.http import batch_options, batches, create_batch, job_lists, results, retry
from backburner.http.body import NDJSON
from backburner.http.openapi.bodies import LINES, NDJSON_REQUESTS, NEW_BATCH, RESULT_LINES, NewBatch
from backburner.http.openapi.job_schemas import Batch, DryRun, ItemList, Job, JobList
from backburner.http.openapi.operation import Answer, Body, Operation, Operations

_LOCATION = {"Location": "Where the job is."}

OPERATIONS: Operations = {
    create_batch.create_batch: Operation(
        tag="Batches",
        summary="Create a batch",
        about=(
            "As one JSON document, or as NDJSON with one request a line and the options as query parameters; a JSON "
            "body takes `dry_run` only. `Content-Encoding: gzip` is accepted. Every line that is not valid is listed "
            "in `error.details`, up to 1,000 of them; nothing is stored then."
        ),
        query=batch_options.NDJSON_QUERY,
        bodies=[
            Body(type=NewBatch, example=NEW_BATCH),
            Body(type=LINES, media=NDJSON, example=NDJSON_REQUESTS),
        ],
        answers={
            202: Answer(about="The batch was made.", type=Job, headers=_LOCATION),
            200: Answer(about="With `dry_run`: it could be made.", type=DryRun),
        },
        errors={409: "The upload took too long."},
    ),
    job_lists.list_batches: Operation(
        tag="Batches",
        summary="List batches",
        query=job_lists.BATCHES_QUERY,
        answers={200: Answer(about="A page of jobs.", type=JobList)},
    ),
    batches.get_batch: Operation(
        tag="Batches",
        summary="Get a batch with its provider batches",
        answers={200: Answer(about="The job.", type=Batch)},
    ),
    batches.list_items: Operation(
        tag="Batches",
        summary="List a batch's items",
        about="In the order of the input, unless asked otherwise.",
        query=batches.ITEMS_QUERY,
        answers={200: Answer(about="A page of items.", type=ItemList)},
    ),
    results.get_results: Operation(
        tag="Batches",
        summary="Download a batch's results",
        about='Lines `{"custom_id":…,"result":{…}}` in the order of the input, results as the provider gave them.',
        query=results.RESULTS_QUERY,
        answers={
            200: Answer(
                about="What there is.",
                type=LINES,
                media=NDJSON,
                example=RESULT_LINES,
                headers={"x-incomplete": "`true` while the job runs."},
            )
        },
    ),
    retry.retry_batch: Operation(
        tag="Batches",
        summary="Run items of an ended batch again",
        about="By status or by custom id; without a choice all that did not succeed.",
        bodies=[Body(type=retry.RetryRequest, example={"statuses": ["errored", "expired"]}, required=False)],
        answers={202: Answer(about="The new job, whose `retry_of` names the old one.", type=Job, headers=_LOCATION)},
        errors={409: "The job has not ended, or there is nothing to retry."},
    ),
    batches.cancel_batch: Operation(
        tag="Batches",
        summary="Cancel a batch",
        about="As a job is cancelled.",
        answers={
            200: Answer(about="It is cancelled.", type=Job),
            202: Answer(about="The provider has to confirm.", type=Job),
        },
        errors={409: "The job has ended otherwise."},
    ),
}
