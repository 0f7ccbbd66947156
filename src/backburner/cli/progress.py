"""Shows how far a job is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from threading import Lock
from types import TracebackType
from typing import Any, Protocol, Self

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
from rich.text import Text

from backburner.cli.output import say
from backburner.client.results import Counts, Job
from backburner.plain_text import one_line

_LINE_EVERY = 5.0  # seconds


class Display(Protocol):
    """Shows a job again and again; a context manager that gives the terminal back."""

    def show(self, job: Job) -> None: ...

    def say(self, message: str) -> None:
        """A message for the person at the terminal, beside what is shown."""

    def close(self) -> None:
        """Give the terminal back for good, also while another thread goes on showing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display(monotonic: Callable[[], float]) -> Display:
    """What suits standard error."""
    console = Console(stderr=True)
    return Bar(console) if console.is_terminal else Lines(monotonic)


class Bar:
    """Counts, elapsed time and the time that is left."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[status]:<9}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[outcomes]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=120,
        )
        self._task: TaskID = self._progress.add_task("", total=None, status="", outcomes="")
        self._turn = Lock()  # of starting and closing
        self._is_closed = False

    def show(self, job: Job) -> None:
        done, total = extent(job)
        self._progress.update(
            self._task,
            total=total,
            completed=done,
            status=one_line(job.status),
            outcomes=one_line(said(job)) if job.request_counts is None else outcomes(job.counts),
            refresh=True,
        )

    def say(self, message: str) -> None:
        # Through the bar's console: anything else writes into the bar.
        self._progress.console.print(Text(one_line(message)), soft_wrap=True)

    def close(self) -> None:
        with self._turn:
            self._is_closed = True
            self._progress.stop()

    def __enter__(self) -> Self:
        with self._turn:
            if not self._is_closed:
                self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


@attrs.define
class Lines:
    """A line when the status changes, and every few seconds while counts do."""

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
        say(line(job))

    def say(self, message: str) -> None:
        say(message)

    def close(self) -> None:
        return None

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
    progress = _progress(job)
    return _number(progress.get("processed")) or 0, _number(progress.get("total"))


def said(job: Job) -> str:
    """The last word of the job's handler."""
    return str(_progress(job).get("message", ""))


def _progress(job: Job) -> Mapping[str, Any]:
    """What the handler said last. Metadata is whatever somebody has written there."""
    progress = job.metadata.get("progress")
    return progress if isinstance(progress, dict) else {}


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.maxsize:  # not NaN either
        return value
    return None


def outcomes(counts: Counts) -> str:
    """The outcomes that there are, with their numbers."""
    pairs = (
        ("succeeded", counts.succeeded),
        ("errored", counts.errored),
        ("canceled", counts.canceled),
        ("expired", counts.expired),
    )
    return " ".join(f"{number:,} {name}" for name, number in pairs if number)
