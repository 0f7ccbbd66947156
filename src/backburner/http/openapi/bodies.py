"""What request bodies look like where code reads them piece by piece instead of into a type."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from backburner.http.batch_options import BatchDocument
from backburner.http.items import CUSTOM_ID


class RequestParams(msgspec.Struct):
    """What the provider's Messages API takes, passed through as it is. The first three may come from `defaults`."""

    model: Annotated[str, msgspec.Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | msgspec.UnsetType = msgspec.UNSET
    messages: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET


class BatchRequest(msgspec.Struct, forbid_unknown_fields=True):
    """One request of a batch; in NDJSON, one line. The `custom_id` is unique in the batch."""

    custom_id: Annotated[str, msgspec.Meta(pattern=CUSTOM_ID)]
    params: RequestParams
    agent_id: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None


class NewBatch(BatchDocument, kw_only=True, forbid_unknown_fields=True):
    """A batch about to be made. `defaults` are merged under the params of each request."""

    requests: Annotated[list[BatchRequest], msgspec.Meta(min_length=1)]


_PARAMS = {
    "model": "claude-haiku-4-5",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "Summarise chapter 1."}],
}
NEW_BATCH = {
    "requests": [{"custom_id": "chapter-1", "params": _PARAMS}],
    "metadata": {"project": "novels"},
    "callback_url": "https://example.com/hooks",
}
NDJSON_REQUESTS = msgspec.json.encode(NEW_BATCH["requests"][0]).decode() + "\n"  # type: ignore[index]
#: Of an NDJSON body or answer: OpenAPI 3.1 has no schema for a sequence of documents.
LINES = {"type": "string", "description": "One JSON object a line."}
RESULT_LINES = (
    '{"custom_id":"chapter-1","result":{"type":"succeeded","message":{"content":[{"type":"text","text":"…"}]}}}\n'
)
EVENTS = {"type": "string", "description": "Server-Sent Events, each with a job in its `data`."}
EVENT = 'id: 01920000-0000-7000-8000-000000000000\nevent: job\ndata: {"id":"job-…","status":"running"}\n\n'
