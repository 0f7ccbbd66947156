"""The API's routes as methods."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

import httpx2

from backburner.client import asks
from backburner.client.asks import Until
from backburner.client.connection import Connection
from backburner.client.downloads import Results, opened_results
from backburner.client.errors import ServerUnreachable
from backburner.client.methods import Methods
from backburner.client.options import Options, known_server
from backburner.client.results import Delivery, Event, Item, Job
from backburner.client.retrying import Retries
from backburner.client.sse import Reader
from backburner.client.uploads import Form, Source, upload
from backburner.client.waiting import PAUSE, TRY_EVERY, Download, Following, Waiting

NOT_SUCCEEDED = ("errored", "expired", "canceled")


class Client(Methods):
    """One server and one key, for one thread. Every method may raise ApiError and ServerUnreachable.

    Calls that can be repeated without harm are, after connection errors, 429 and 503; `timeout` is how long the server
    may be silent, in seconds. AsyncClient has the same methods. Without a url it talks to the server that commands
    talk to: BACKBURNER_URL with BACKBURNER_API_KEY, else the profile (`profile`, BACKBURNER_PROFILE, the current one).
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        profile: str | None = None,
        timeout: float = 30.0,
        retries: Retries | None = None,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,  # noqa: TID251 - this client is synchronous
        monotonic: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        url, key = known_server(url, key, profile)
        self._options = Options(url=url, key=key, timeout=timeout, retries=retries or Retries(), **options)
        http = httpx2.Client(transport=transport, **self._options.of_http())
        self._connection = Connection(self._options, http, sleep)
        self._monotonic = monotonic

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.http.close()

    @property
    def url(self) -> str:
        return self._options.url

    # --- batches ---------------------------------------------------------------------------------------------

    def submit(
        self, source: Source, *, form: Form | None = None, idempotency_key: str | None = None, **options: Any
    ) -> Job:
        """Make a batch job of requests (any iterable, streamed), of a path or of an open binary file.

        `options` are those of `POST /v1/batches`: callback_url, metadata, priority, provider, deadline_seconds, …
        An iterator is read once, and kept for repetitions.
        """
        with upload(source, options, form=form) as made:
            return self._call(asks.submit(made, idempotency_key))

    def check(self, source: Source, *, form: Form | None = None, **options: Any) -> dict[str, Any]:
        """Have the requests checked and nothing stored. Raises ApiError, whose `details` name what is wrong."""
        with upload(source, {**options, "dry_run": True}, form=form) as made:
            return self._call(asks.check(made))

    def batch(self, job_id: str) -> Job:
        """The job, with its provider batches in `provider_batches["data"]`."""
        return self._call(asks.batch(job_id))

    def items(self, job_id: str, **filters: Any) -> Iterator[Item]:
        """In input order."""
        return self._all(asks.items(job_id, filters))

    def results(
        self,
        job_id: str,
        *,
        status: Sequence[str] = (),
        after: str | None = None,
        on_trouble: Callable[[ServerUnreachable], object] = lambda _error: None,
    ) -> AbstractContextManager[Results]:
        """The results in input order; of the given statuses only, if any, and behind the item `after` (a custom id).

        Read them as slowly as you like: a download that breaks off goes on behind the last result. `on_trouble` is
        called when it does. Raises ServerUnreachable when nothing has come for two minutes then.
        """
        download = Download(job_id=job_id, statuses=status, after=after, monotonic=self._monotonic)
        return opened_results(self._connection, download, on_trouble)

    def retry(
        self,
        job_id: str,
        *,
        statuses: Sequence[str] = NOT_SUCCEEDED,
        custom_ids: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> Job:
        """A new job of the items chosen."""
        return self._call(asks.retry(job_id, statuses, custom_ids, idempotency_key))

    # --- jobs ------------------------------------------------------------------------------------------------

    def job(self, job_id: str, *, wait: float = 0.0, until: Until = "changed") -> Job:
        """The job; with `wait` as soon as it changes or has ended, but after that many seconds (60 at most) anyway.

        `until="ended"` waits for its end only.
        """
        return self._call(asks.job(job_id, wait, until))

    def wait(
        self,
        job: Job | str,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Job], object] = lambda _job: None,
        on_trouble: Callable[[ServerUnreachable], object] = lambda _error: None,
    ) -> Job:
        """The ended job. Raises WaitTimeout, and ServerUnreachable when the server stays away for two minutes.

        `on_progress` is called with the job now and at each change, `on_trouble` when the server cannot be reached.
        """
        current = job if isinstance(job, Job) else self.job(job)
        waiting = Waiting(job_id=current.id, timeout=timeout, monotonic=self._monotonic)
        on_progress(current)
        while not current.is_terminal:
            self._connection.sleep(PAUSE)
            current = self._next(waiting, on_trouble)
            on_progress(current)
        return current

    def _next(self, waiting: Waiting, on_trouble: Callable[[ServerUnreachable], object]) -> Job:
        while True:
            try:
                found = self._call(waiting.ask())
            except ServerUnreachable as error:
                waiting.lost(error)
                on_trouble(error)
                self._connection.sleep(TRY_EVERY)
            else:
                waiting.answered()
                return found

    def events(self, job_id: str | None = None, *, last_event_id: str = "") -> Iterator[Event]:
        """Changes of a job until it has ended, or of all jobs without end, live. Reconnects by itself.

        With `last_event_id` from behind that event on; an event may come twice then.
        """
        following = Following(job_id=job_id, monotonic=self._monotonic, reader=Reader(last_event_id))
        while not following.is_over:
            try:
                with self._connection.stream(following.ask()) as response:
                    following.answered(response.status_code)
                    for data in response.iter_bytes():
                        yield from following.take(data)
            except ServerUnreachable as error:
                following.lost(error)
            if not following.is_over:
                self._connection.sleep(TRY_EVERY)

    def jobs(self, **filters: Any) -> Iterator[Job]:
        """Newest first, page by page. Filters are the query parameters of `GET /v1/jobs`."""
        return self._all(asks.jobs(filters))

    def create_job(self, *, idempotency_key: str | None = None, **fields: Any) -> Job:
        """A job that is no batch; `fields` are those of `POST /v1/jobs`."""
        return self._call(asks.create_job(fields, idempotency_key))

    def update_job(self, job_id: str, **fields: Any) -> Job:
        """Move a job that is driven from outside: status, stop_reason, metadata, result, error."""
        return self._call(asks.update_job(job_id, fields))

    def cancel(self, job_id: str) -> Job:
        """What is finished is kept; the job is `cancelled` when the provider has confirmed."""
        return self._call(asks.cancel(job_id))

    def delete(self, job_id: str) -> Job:
        """Delete an ended job. Returns what it was."""
        return self._call(asks.delete(job_id))

    def deliveries(self, job_id: str) -> Iterator[Delivery]:
        return self._all(asks.deliveries(job_id))

    def redeliver(self, job_id: str, delivery_id: str) -> Delivery:
        return self._call(asks.redeliver(job_id, delivery_id))
