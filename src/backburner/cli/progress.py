"""Shows how far a job is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import attrs
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from backburner.client.results import Counts, Job

_LINE_EVERY = 5.0  # seconds


class Display(Protocol):
    """Shows a job again and again; a context manager that gives the terminal back."""

    def show(self, job: Job) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display(monotonic: Callable[[], float]) -> Display:
    """What suits standard error."""
    console = Console(stderr=True)
    return Bar(console) if console.is_terminal else Lines(console, monotonic)


class Bar:
    """Counts, elapsed time and the time that is left."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[status]:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[outcomes]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=120,
        )
        self._task: TaskID = self._progress.add_task("", total=None, status="", outcomes="")

    def show(self, job: Job) -> None:
        done, total = extent(job)
        self._progress.update(
            self._task,
            total=total,
            completed=done,
            status=job.status,
            outcomes=said(job) if job.request_counts is None else outcomes(job.counts),
            refresh=True,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


@attrs.define
class Lines:
    """A line when the status changes, and every few seconds while counts do."""

    _console: Console
    _monotonic: Callable[[], float]
    _status: str = ""
    _finished: float = 0
    _shown_at: float = 0.0

    def show(self, job: Job) -> None:
        now, done = self._monotonic(), extent(job)[0]
        late = done != self._finished and now - self._shown_at >= _LINE_EVERY
        if job.status == self._status and not late:
            return
        self._status, self._finished, self._shown_at = job.status, done, now
        self._console.print(line(job), markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def line(job: Job) -> str:
    """The job in one line."""
    counts = job.request_counts
    if counts is None:
        return f"{job.id} {job.status} {said(job)}".rstrip()
    return f"{job.id} {job.status} {counts.finished:,}/{counts.total:,} {outcomes(counts)}".rstrip()


def extent(job: Job) -> tuple[float, float | None]:
    """How far a job is, of how much: items, or whatever its handler counts."""
    if job.request_counts is not None:
        return job.counts.finished, job.counts.total
    progress = job.metadata.get("progress") or {}
    return progress.get("processed", 0), progress.get("total")


def said(job: Job) -> str:
    """The last word of the job's handler."""
    return str((job.metadata.get("progress") or {}).get("message", ""))


def outcomes(counts: Counts) -> str:
    """The outcomes that there are, with their numbers."""
    pairs = (
        ("succeeded", counts.succeeded),
        ("errored", counts.errored),
        ("canceled", counts.canceled),
        ("expired", counts.expired),
    )
    return " ".join(f"{number:,} {name}" for name, number in pairs if number)
