"""What older versions of Letta's client sent to a recording server, call by call: only one version can be installed."""

from __future__ import annotations

from typing import Any

import attrs

AGENTS = [f"agent-00000000-0000-4000-8000-00000000000{number}" for number in range(2)]
REQUESTS = [{"agent_id": agent, "messages": [{"role": "user", "content": "Hi"}]} for agent in AGENTS]
BODIES: dict[str, Any] = {
    "batches.create": {"requests": REQUESTS, "callback_url": "https://example.com/hook"},
    "runs.messages.stream": {},
    "steps.feedback.create": {"feedback": "positive"},
}
#: The headers that tell the versions apart; 0.1.324 says JSON even of requests without a body.
HEADERS = {
    "0.1.324": {
        "accept": "*/*",
        "content-type": "application/json",
        "x-fern-language": "Python",
        "x-fern-sdk-name": "letta-client",
        "x-fern-sdk-version": "0.1.324",
    },
    "1.7.0": {
        "accept": "application/json",
        "content-type": "application/json",
        "x-stainless-lang": "python",
        "x-stainless-package-version": "1.7.0",
        "x-stainless-async": "false",
        "x-stainless-retry-count": "0",
        "x-stainless-read-timeout": "60",
    },
}
#: Call, method, target, and what the client makes of the answer.
_TEXT = {
    "0.1.324": """
        batches.create POST /v1/messages/batches job
        batches.retrieve GET /v1/messages/batches/{batch} job
        batches.list GET /v1/messages/batches list
        batches.list GET /v1/messages/batches?after={batch}&limit=10&order=asc list
        batches.messages.list GET /v1/messages/batches/{batch}/messages?limit=10&agent_id={agent} messages
        batches.cancel PATCH /v1/messages/batches/{open}/cancel any
        jobs.list GET /v1/jobs/ list
        jobs.list GET /v1/jobs/?limit=5&active=true&ascending=false list
        jobs.list_active GET /v1/jobs/active list
        jobs.retrieve GET /v1/jobs/{job} job
        jobs.cancel_job PATCH /v1/jobs/{job}/cancel job
        jobs.delete DELETE /v1/jobs/{job} job
        runs.list GET /v1/runs/?limit=2 list
        runs.list_active GET /v1/runs/active list
        runs.stream POST /v1/runs/{run}/stream stream
        runs.retrieve GET /v1/runs/{run} object
        runs.messages.list GET /v1/runs/{run}/messages list
        runs.steps.list GET /v1/runs/{run}/steps list
        runs.usage.retrieve GET /v1/runs/{run}/usage usage
        steps.list GET /v1/steps/?limit=3 list
        steps.retrieve GET /v1/steps/{step} object
        steps.metrics.retrieve GET /v1/steps/{step}/metrics object
        steps.trace.retrieve GET /v1/steps/{step}/trace any
        steps.messages.list GET /v1/steps/{step}/messages list
        steps.feedback.create PATCH /v1/steps/{step}/feedback object
        runs.delete DELETE /v1/runs/{single} object
    """,
    "1.7.0": """
        batches.create POST /v1/messages/batches job
        batches.retrieve GET /v1/messages/batches/{batch} job
        batches.list GET /v1/messages/batches?limit=10&order=asc list
        batches.list GET /v1/messages/batches?limit=10&order=asc&after={batch} list
        batches.messages.list GET /v1/messages/batches/{batch}/messages?limit=1 messages
        batches.messages.list GET /v1/messages/batches/{batch}/messages?limit=1&after={message} messages
        batches.cancel PATCH /v1/messages/batches/{open}/cancel any
        runs.list GET /v1/runs/?limit=100&order=asc&statuses=completed list
        runs.list GET /v1/runs/?limit=100&order=asc&statuses=completed&after={run} list
        runs.messages.stream POST /v1/runs/{run}/stream stream
        runs.retrieve GET /v1/runs/{run} object
        runs.messages.list GET /v1/runs/{run}/messages list
        runs.messages.list GET /v1/runs/{run}/messages?after={message} list
        runs.steps.list GET /v1/runs/{run}/steps list
        runs.steps.list GET /v1/runs/{run}/steps?after={step} list
        runs.usage.retrieve GET /v1/runs/{run}/usage usage
        steps.list GET /v1/steps/?limit=3 list
        steps.retrieve GET /v1/steps/{step} object
        steps.metrics.retrieve GET /v1/steps/{step}/metrics object
        steps.trace.retrieve GET /v1/steps/{step}/trace any
        steps.messages.list GET /v1/steps/{step}/messages list
        steps.messages.list GET /v1/steps/{step}/messages?after={message} list
        steps.feedback.create PATCH /v1/steps/{step}/feedback object
    """,
}


@attrs.frozen
class Recorded:
    version: str
    call: str
    method: str
    target: str
    returned: str

    @property
    def headers(self) -> dict[str, str]:
        return HEADERS[self.version]

    @property
    def body(self) -> Any:
        return BODIES.get(self.call)


RECORDED = [
    Recorded(version, *line.split()) for version, text in _TEXT.items() for line in text.splitlines() if line.strip()
]
