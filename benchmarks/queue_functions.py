"""Handlers of the measure of the queue; processes import them from here."""

from __future__ import annotations

from backburner.app import App

app = App()


@app.handler("task")
async def in_task() -> int:
    """As a task."""
    return 1


@app.handler("thread")
def in_thread() -> int:
    """In a thread."""
    return 1


@app.handler("process", cpu=True)
def in_process() -> int:
    """In a process."""
    return 1
