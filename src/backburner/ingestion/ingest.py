"""`ingest_file`: a large file of requests, or of rows and a template, becomes one batch job."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, TypeVar

import attrs
import msgspec
import trio

from backburner.app import App, Handler
from backburner.checked_intake import DROP_SECONDS, CheckedIntake, drop
from backburner.clock import Clock
from backburner.egress import WEB_PORTS, check_callback_url
from backburner.errors import GiveUp, Invalid, NotFound
from backburner.execution.context import Context
from backburner.files import INGEST_FILE, FileStatus
from backburner.ids import Ids
from backburner.ingestion.failures import failure_of
from backburner.ingestion.requests import Form, Format, Requests, open_requests
from backburner.ingestion.sources import Source, StoredFile, below, gone, open_below
from backburner.job_metadata import check_metadata
from backburner.request_config import check_request_config
from backburner.storage import files, jobs
from backburner.storage.database import Database, Tx

T = TypeVar("T")

AT_ONCE, OF_ONE_ORGANIZATION = 4, 2  # files that one instance reads
LONGEST_DEADLINE = 366 * 86_400.0  # seconds

_Words = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
_Priority = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=LONGEST_DEADLINE)]
_ChunkItems = Annotated[int, msgspec.Meta(ge=1, le=100_000)]


@attrs.frozen(kw_only=True)
class IngestRules:
    """What files may become here."""

    provider: str = "sandbox"  #: of batches that name none
    providers: frozenset[str] = frozenset({"sandbox"})
    max_items_per_job: int = 1_000_000
    max_item_bytes: int = 32 * 1024 * 1024
    folder: str | None = None  #: below which files of this machine may be read
    allow_private_callbacks: bool = False
    callback_ports: frozenset[int] | None = WEB_PORTS  #: None: any


@attrs.frozen(kw_only=True)
class Ingestion:
    """Executes jobs of the handler `ingest_file`. Whatever happens to an attempt, one batch at most comes of a job."""

    database: Database
    clock: Clock
    ids: Ids
    rules: IngestRules

    async def ingest_file(
        self,
        ctx: Any,
        *,
        file_id: _Words | None = None,
        path: _Words | None = None,
        format: Format | None = None,  # noqa: A002  # a field of the input
        template: str | dict[str, Any] | None = None,
        custom_id: _Words | None = None,
        delimiter: _Words | None = None,
        defaults: dict[str, Any] | None = None,
        provider: _Words | None = None,
        metadata: dict[str, Any] | None = None,
        request_config: dict[str, Any] | None = None,
        callback_url: _Words | None = None,
        priority: _Priority = 0,
        deadline_seconds: _Seconds | None = None,
        chunk_items: _ChunkItems | None = None,
    ) -> dict[str, Any]:
        """Make a batch of an uploaded file (`file_id`) or of one below the ingest folder (`path`)."""
        asked = {name: value for name, value in locals().items() if name not in ("self", "ctx")}
        try:
            self.check(asked)
            made = await ctx.children.known(INGEST_FILE) or await self._made(ctx, asked)
            job = await self.database.read(jobs.get_job, ctx.children.organization_key, made)
        except Exception as error:
            raise failure_of(error, ctx.job_id) from error
        return {"job_id": made, "requests": 0 if job.counts is None else job.counts.total}

    def check(self, asked: dict[str, Any]) -> None:
        """Raises Invalid for an input with which no attempt could succeed, naming its field."""
        if (asked["file_id"] is None) == (asked["path"] is None):
            raise Invalid("Give either a file_id or a path.", code="missing_field", param="file_id")
        form = _form(asked)
        form.check()
        if asked["path"] is not None:
            _, names = below(self.rules.folder, asked["path"])
            form.of(names[-1])
        provider = asked["provider"]
        if provider is not None and provider not in self.rules.providers:
            known = ", ".join(sorted(self.rules.providers))
            message = f"There is no provider {provider!r} here; known: {known}."
            raise Invalid(message, code="unknown_provider", param="provider")
        check_metadata(asked["metadata"] or {})
        check_request_config(asked["request_config"] or {})
        if asked["callback_url"] is not None:
            check_callback_url(
                asked["callback_url"],
                allow_private=self.rules.allow_private_callbacks,
                ports=self.rules.callback_ports,
            )

    async def _made(self, ctx: Context, asked: dict[str, Any]) -> str:
        assert ctx.children is not None  # noqa: S101  # every context in the server has them
        reading = await self._opened(ctx.children.organization_key, asked)
        try:
            return await self._read(ctx, reading, asked)
        finally:
            reading.source.file.close()

    async def _read(self, ctx: Context, reading: Reading, asked: dict[str, Any]) -> str:
        """Take in what the file has, then make the batch appear."""
        form, rules = _form(asked), self.rules
        requests = await reading.do(lambda: open_requests(reading.source, form, longest=rules.max_item_bytes))
        intake = CheckedIntake(
            database=self.database, clock=self.clock, ids=self.ids, limits=rules, report=requests.report(),
            defaults=None if form.template is not None else _raw(form.defaults),
        )  # fmt: skip
        try:
            while not requests.is_over:
                await intake.take(await reading.do(requests.page))
                _tell(ctx, reading.source, requests, is_done=False)
            taken = await intake.finish()
            _tell(ctx, reading.source, requests, is_done=True)
            assert ctx.children is not None  # noqa: S101
            return await ctx.children.make(taken, INGEST_FILE, **self._job(asked))
        except BaseException:
            with trio.move_on_after(DROP_SECONDS, shield=True):
                await drop(intake.intake)
            raise

    def _job(self, asked: dict[str, Any]) -> dict[str, Any]:
        seconds = asked["deadline_seconds"]
        return {
            "chunk_items": asked["chunk_items"],
            "provider": asked["provider"] or self.rules.provider,
            "metadata": asked["metadata"] or {},
            "request_config": asked["request_config"] or {},
            "callback_url": asked["callback_url"],
            "priority": asked["priority"],
            "deadline_at": None if seconds is None else self.clock.now() + timedelta(seconds=seconds),
        }

    async def _opened(self, organization_key: int, asked: dict[str, Any]) -> Reading:
        if asked["path"] is not None:
            folder, names = below(self.rules.folder, asked["path"])
            source = await self.database.offload_read(lambda: open_below(folder, names))
            return Reading(database=self.database, source=source)
        try:
            stored = await self.database.read(_stored, organization_key, asked["file_id"])
        except NotFound as error:
            raise gone(asked["file_id"]) from error
        await self.database.write(files.touch_file, stored.file.key, now=self.clock.now())
        buffered = io.BufferedReader(stored, buffer_size=64 * 1024)
        source = Source(file=buffered, name=stored.file.name, size=stored.file.bytes)
        return Reading(database=self.database, source=source, stored=stored)


def ingest_handler(ingestion: Ingestion) -> Handler:
    """The handler, as if it were registered."""
    app = App()
    rules: dict[str, Any] = {"timeout_seconds": 86_400.0, "stuck_after_seconds": 600.0, "max_attempts": 10}
    # They share the database's threads with every request.
    app.handler(INGEST_FILE, concurrency=AT_ONCE, per_organization=OF_ONE_ORGANIZATION, **rules)(ingestion.ingest_file)
    return attrs.evolve(app.handlers[INGEST_FILE], check=ingestion.check)


@attrs.frozen(kw_only=True)
class Reading:
    """A file and where it is read: in the database's threads."""

    database: Database
    source: Source
    stored: StoredFile | None = None

    async def do(self, work: Callable[[], T]) -> T:
        """Something that reads the file."""
        if self.stored is None:
            return await self.database.offload_read(work)
        return await self.database.read(self._in_transaction, work)

    def _in_transaction(self, tx: Tx, work: Callable[[], T]) -> T:
        assert self.stored is not None  # noqa: S101
        with self.stored.reading(tx):
            return work()


def _stored(tx: Tx, organization_key: int, file_id: str) -> StoredFile:
    file = files.get_file(tx, organization_key, file_id)
    if file.status is not FileStatus.COMPLETE:
        raise GiveUp(f"The file {file_id!r} is not complete yet.", code="file_incomplete")
    return StoredFile(file, files.parts_of(tx, file))


def _form(asked: dict[str, Any]) -> Form:
    return Form(
        format=asked["format"],
        template=asked["template"],
        custom_id=asked["custom_id"],
        delimiter=asked["delimiter"],
        defaults=asked["defaults"] or {},
    )


def _raw(defaults: Any) -> dict[str, msgspec.Raw] | None:
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in defaults.items()} or None


def _tell(ctx: Context, source: Source, requests: Requests, *, is_done: bool) -> None:
    done = source.size if is_done else requests.done()
    ctx.progress(
        done,
        source.size,
        f"{source.name}: {requests.seen:,} {requests.place}s",
        total_files=1,
        processed_files=int(is_done),
        bytes=done,
        lines=requests.seen,
    )
