"""The API's routes as methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any, Self, cast

import attrs
import httpx2

from backburner.client.connection import Body, Connection
from backburner.client.shapes import Job, Page

#: The server holds an answer for at most this many seconds.
LONGEST_WAIT = 60.0


@attrs.frozen
class Results:
    """A download under way."""

    incomplete: bool  #: the job was still running when it began
    _response: httpx2.Response

    def save(self, target: IO[bytes]) -> int:
        """Write every line to `target`; the number of bytes. Memory does not grow. Raises ServerUnreachable."""
        size = 0
        for chunk in self._response.iter_bytes():
            target.write(chunk)
            size += len(chunk)
        return size


class Client:
    """One server and one key. Every method may raise ApiError and ServerUnreachable.

    Calls that can be repeated without harm are, after connection errors, 429 and 503.
    """

    def __init__(self, url: str, key: str | None = None, **options: Any) -> None:
        self._connection = Connection(url, key, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    @property
    def url(self) -> str:
        return self._connection.url

    # --- batches ---------------------------------------------------------------------------------------------

    def submit(
        self, body: Body, *, content_type: str, size: int | None = None, params: Mapping[str, Any] | None = None
    ) -> Job:
        """Make a batch job. `body` is called for each try and gives the whole request, of `size` bytes."""
        headers = {"content-type": content_type} | ({"content-length": str(size)} if size is not None else {})
        # Checking a million requests takes the server a while after the last byte.
        answer = self._connection.call("POST", "/v1/batches", params=params, body=body, headers=headers, patience=300.0)
        return cast("Job", answer)

    def batch(self, job_id: str) -> dict[str, Any]:
        """The job with its provider batches."""
        return self._get(f"/v1/batches/{job_id}")

    def items(self, job_id: str, **filters: Any) -> Iterator[dict[str, Any]]:
        """In input order."""
        return self._all(f"/v1/batches/{job_id}/items", filters)

    @contextmanager
    def results(self, job_id: str, *, status: Sequence[str] = ()) -> Iterator[Results]:
        """The results as NDJSON, in input order; of the given statuses only, if any."""
        params = {"status": list(status)} if status else None
        with self._connection.stream("GET", f"/v1/batches/{job_id}/results", params=params, patience=60.0) as response:
            yield Results(response.headers.get("x-incomplete") == "true", response)

    def retry(self, job_id: str, *, statuses: Sequence[str] = (), custom_ids: Sequence[str] = ()) -> Job:
        """A new job of the items chosen."""
        chosen = {"custom_ids": list(custom_ids)} if custom_ids else {"statuses": list(statuses)}
        return cast("Job", self._connection.call("POST", f"/v1/batches/{job_id}/retry", json=chosen))

    # --- jobs ------------------------------------------------------------------------------------------------

    def job(self, job_id: str, *, wait: float = 0.0) -> Job:
        """The job; with `wait` as soon as it changes or has ended, but after that many seconds (60 at most) anyway."""
        params = {"wait": f"{min(wait, LONGEST_WAIT):g}"} if wait > 0 else None
        return cast("Job", self._connection.call("GET", f"/v1/jobs/{job_id}", params=params, patience=wait))

    def jobs(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Newest first. Filters are the query parameters of `GET /v1/jobs`."""
        return self._all("/v1/jobs", filters)

    def cancel(self, job_id: str) -> Job:
        return cast("Job", self._connection.call("POST", f"/v1/jobs/{job_id}/cancel"))

    def delete(self, job_id: str) -> Job:
        # Repeated after a lost answer it would say 404.
        return cast("Job", self._connection.call("DELETE", f"/v1/jobs/{job_id}", repeatable=False))

    def deliveries(self, job_id: str) -> Iterator[dict[str, Any]]:
        return self._all(f"/v1/jobs/{job_id}/deliveries", {})

    def redeliver(self, job_id: str, delivery_id: str) -> dict[str, Any]:
        answer = self._connection.call("POST", f"/v1/jobs/{job_id}/deliveries/{delivery_id}/redeliver")
        return cast("dict[str, Any]", answer)

    # --- operations ------------------------------------------------------------------------------------------

    def scheduler(self) -> dict[str, Any]:
        return self._get("/v1/admin/scheduler/status")

    def scheduler_do(self, action: str) -> dict[str, Any]:
        """`action` is poll, pause, resume or step-down."""
        return cast("dict[str, Any]", self._connection.call("POST", f"/v1/admin/scheduler/{action}"))

    def users(self) -> Iterator[dict[str, Any]]:
        return self._all("/v1/admin/users", {})

    def api_keys(self) -> Iterator[dict[str, Any]]:
        return self._all("/v1/admin/keys", {})

    def create_key(self, **fields: Any) -> dict[str, Any]:
        """The new key with its secret. Never repeated: a replayed answer would lack the secret."""
        answer = self._connection.call("POST", "/v1/admin/keys", json=fields, repeatable=False)
        return cast("dict[str, Any]", answer)

    def revoke_key(self, key_id: str) -> dict[str, Any]:
        return cast("dict[str, Any]", self._connection.call("DELETE", f"/v1/admin/keys/{key_id}", repeatable=False))

    def webhook_secret(self) -> str:
        """The organization's signing secret, `whsec_…`."""
        return str(self._get("/v1/webhook-secret")["secret"])

    def ready(self) -> dict[str, Any]:
        """What `/readyz` says. Raises ApiError (503) while the database is away."""
        return self._get("/readyz")

    def _get(self, path: str, **params: Any) -> dict[str, Any]:
        return cast("dict[str, Any]", self._connection.call("GET", path, params=params or None))

    def _all(self, path: str, filters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        params = {name: value for name, value in filters.items() if value is not None}
        while True:
            page = cast("Page", self._connection.call("GET", path, params=params))
            yield from page["data"]
            if not page["has_more"]:
                return
            params["after"] = page["last_id"]
