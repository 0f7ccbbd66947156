"""Which figures deserve a warning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backburner.figures import HandlerFigures, JobFigures, PlaceFigures, ProcessFigures, QueueFigures, warnings_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def handler(state):
    return HandlerFigures(name="h", executor="async", running=0, succeeded=0, failed=9, ended=0, state=state)


def process(**more):
    plain = {"loop_lag_seconds": 0.01, "loop_blocked": 0, "loop_blocked_by": None, "cpu_share": 0.1, "memory_bytes": 1}
    return ProcessFigures(**{**plain, **more})


def warn(queue=QueueFigures(), jobs=JobFigures(), watched=None):  # noqa: B008  # frozen
    return warnings_of(queue, jobs, watched, most_queued=100, now=NOW)


def test_a_quiet_instance_has_no_warnings():
    jobs = JobFigures(handlers=[handler("active")], places={"thread": PlaceFigures(total=4, taken=3, abandoned=0)})
    queue = QueueFigures(waiting=79, oldest_at=NOW - timedelta(seconds=299))
    assert warn(queue, jobs, process()) == []


def test_each_figure_beyond_its_threshold_is_one_sentence():
    assert warn(QueueFigures(waiting=80)) == ["80 jobs wait; the queue takes 100."]
    old = QueueFigures(waiting=1, oldest_at=NOW - timedelta(seconds=301))
    assert warn(old) == ["The first job in the queue has waited for 301 s."]
    assert "rests" in warn(jobs=JobFigures(handlers=[handler("resting")]))[0]
    full = JobFigures(places={"thread": PlaceFigures(total=4, taken=4, abandoned=0)})
    assert warn(jobs=full) == ["All 4 places (thread) are taken."]
    held = JobFigures(places={"thread": PlaceFigures(total=4, taken=1, abandoned=1)})
    assert "ignores its end" in warn(jobs=held)[0]
    assert warn(watched=process(loop_lag_seconds=1.5, loop_blocked_by="h")) == [
        "The event loop was held up for 1.50 s, last by h."
    ]
    assert warn(watched=process(cpu_share=0.95)) == ["The process uses 95% of a core."]
    assert len(warn(watched=process(memory_bytes=3 * 1024**3))) == 1
