"""What can be asked of the server, as data: one function a route, shared by both clients. Here: batches and jobs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, Literal, TypeVar, cast
from urllib.parse import quote

import attrs
import msgspec

from backburner.client.errors import ClientError
from backburner.client.results import Delivery, Item, Job, record
from backburner.client.uploads import Upload

T = TypeVar("T")

#: What a held answer waits for.
Until = Literal["changed", "ended"]
#: The server holds an answer for at most this many seconds.
LONGEST_WAIT = 60.0
#: Seconds more than usual that the server may be silent: checking a million requests takes it a while.
_CHECKING = 300.0
_STREAMING = 60.0

_job = record(Job)


def an_object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value)


def segment(text: str) -> str:
    """An id as a part of a path, whatever it is: never more than one part, and none that leads elsewhere."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


@attrs.frozen(kw_only=True)
class Ask(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[Any], T]  #: from the decoded answer
    params: Mapping[str, Any] | None = None
    json: object = None
    data: bytes | None = None  #: a body that is not JSON
    upload: Upload | None = None
    more_headers: Mapping[str, str] = attrs.field(factory=dict)
    #: Doing it twice is the same as doing it once: a POST then carries an idempotency key, the same on every try.
    repeatable: bool = True
    patience: float = 0.0  #: seconds, added to the time that the server may be silent
    idempotency_key: str | None = None

    def headers(self) -> dict[str, str]:
        """Of the request, except those of every request."""
        found = dict(self.more_headers)
        if self.json is not None:
            found["content-type"] = "application/json"
        if self.data is not None:
            found["content-type"] = "application/octet-stream"
        if self.upload is not None:
            found["content-type"] = self.upload.content_type
            if self.upload.size is not None:
                found["content-length"] = str(self.upload.size)
        if self.method == "POST" and self.repeatable:
            found["idempotency-key"] = self.idempotency_key or secrets.token_hex(16)
        return found

    def content(self) -> bytes | None:
        """The body, unless it is an upload."""
        return self.data if self.json is None else msgspec.json.encode(self.json)

    def answer(self, body: bytes) -> T:
        """What a successful answer says. Raises ClientError when it is not one of this API."""
        try:
            return self.read(msgspec.json.decode(body))
        except (msgspec.MsgspecError, LookupError, TypeError) as error:
            raise ClientError(f"The answer to {self.method} {self.path} is not one of this API: {error}") from error


@attrs.frozen
class Page(Generic[T]):
    """A part of a list, and the request for the next."""

    rows: Sequence[T]
    following: Ask[Page[T]] | None


def listing(path: str, read: Callable[[Any], T], filters: Mapping[str, Any]) -> Ask[Page[T]]:
    """The first page of a list; filters that are None are left out."""
    params = {name: value for name, value in filters.items() if value is not None}
    return Ask(method="GET", path=path, params=params or None, read=partial(_page, path, read, params))


def _page(path: str, read: Callable[[Any], T], params: Mapping[str, Any], value: Any) -> Page[T]:
    following = listing(path, read, {**params, "after": value["last_id"]}) if value["has_more"] else None
    return Page([read(row) for row in value["data"]], following)


# --- batches -------------------------------------------------------------------------------------------------


def submit(upload: Upload, idempotency_key: str | None = None) -> Ask[Job]:
    return _send(upload, _job, idempotency_key)


def check(upload: Upload) -> Ask[dict[str, Any]]:
    return _send(upload, an_object, None)


def _send(upload: Upload, read: Callable[[Any], T], key: str | None) -> Ask[T]:
    params = upload.params or None
    return Ask(
        method="POST",
        path="/v1/batches",
        params=params,
        upload=upload,
        read=read,
        patience=_CHECKING,
        idempotency_key=key,
    )


def batch(job_id: str) -> Ask[Job]:
    return Ask(method="GET", path=f"/v1/batches/{segment(job_id)}", read=_job)


def items(job_id: str, filters: Mapping[str, Any]) -> Ask[Page[Item]]:
    return listing(f"/v1/batches/{segment(job_id)}/items", record(Item), filters)


def results(job_id: str, statuses: Sequence[str], after: str | None) -> Ask[None]:
    params = ({"status": list(statuses)} if statuses else {}) | ({} if after is None else {"after": after})
    path = f"/v1/batches/{segment(job_id)}/results"
    return Ask(method="GET", path=path, params=params or None, read=_nothing, patience=_STREAMING)


def retry(job_id: str, statuses: Sequence[str], custom_ids: Sequence[str], key: str | None) -> Ask[Job]:
    chosen = {"custom_ids": list(custom_ids)} if custom_ids else {"statuses": list(statuses)}
    return Ask(method="POST", path=f"/v1/batches/{segment(job_id)}/retry", json=chosen, read=_job, idempotency_key=key)


# --- jobs ----------------------------------------------------------------------------------------------------


def job(job_id: str, wait: float = 0.0, until: Until = "changed") -> Ask[Job]:
    params = {"wait": f"{min(wait, LONGEST_WAIT):g}"} if wait > 0 else None
    if params and until != "changed":
        params["until"] = until
    return Ask(method="GET", path=f"/v1/jobs/{segment(job_id)}", params=params, read=_job, patience=wait)


def jobs(filters: Mapping[str, Any]) -> Ask[Page[Job]]:
    return listing("/v1/jobs", _job, filters)


def create_job(fields: Mapping[str, Any], key: str | None) -> Ask[Job]:
    return Ask(method="POST", path="/v1/jobs", json={"job_type": "job", **fields}, read=_job, idempotency_key=key)


def update_job(job_id: str, fields: Mapping[str, Any]) -> Ask[Job]:
    # Repeated after a lost answer a change of status would be refused.
    return Ask(method="PATCH", path=f"/v1/jobs/{segment(job_id)}", json=dict(fields), read=_job, repeatable=False)


def cancel(job_id: str) -> Ask[Job]:
    return Ask(method="POST", path=f"/v1/jobs/{segment(job_id)}/cancel", read=_job)


def delete(job_id: str) -> Ask[Job]:
    # Repeated after a lost answer it would say 404.
    return Ask(method="DELETE", path=f"/v1/jobs/{segment(job_id)}", read=_job, repeatable=False)


def events(job_id: str | None, last_event_id: str) -> Ask[None]:
    path = "/v1/events" if job_id is None else f"/v1/jobs/{segment(job_id)}/events"
    known = {"last-event-id": last_event_id} if last_event_id else {}
    return Ask(method="GET", path=path, more_headers=known, read=_nothing, patience=_STREAMING)


def deliveries(job_id: str) -> Ask[Page[Delivery]]:
    return listing(f"/v1/jobs/{segment(job_id)}/deliveries", record(Delivery), {})


def redeliver(job_id: str, delivery_id: str) -> Ask[Delivery]:
    path = f"/v1/jobs/{segment(job_id)}/deliveries/{segment(delivery_id)}/redeliver"
    return Ask(method="POST", path=path, read=record(Delivery))


def _nothing(_value: Any) -> None:
    return None
