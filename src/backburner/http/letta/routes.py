"""The routes of the surface for Letta's clients."""

from __future__ import annotations

from backburner.http.call import Routes
from backburner.http.letta import batches, jobs, runs, steps
from backburner.http.letta.create import create_batch
from backburner.http.letta.problems import problem_response
from backburner.http.letta.stream import stream_run

BASE = "/letta"


def add_letta(routes: Routes) -> None:
    """Put the surface on the application. Every path answers with and without a slash at its end."""
    routes.app.surfaces[f"{BASE}/"] = problem_response
    _add_jobs(routes)
    _add_batches(routes)
    _add_runs(routes)
    _add_steps(routes)


def _add_jobs(routes: Routes) -> None:
    every, one = f"{BASE}/v1/jobs", f"{BASE}/v1/jobs/<job_id>"
    routes.add_foreign("GET", every, "read", jobs.list_all)
    routes.add_foreign("GET", f"{every}/active", "read", jobs.list_active)
    routes.add_foreign("GET", one, "read", jobs.get_one)
    routes.add_foreign("DELETE", one, "write", jobs.delete, "job.delete")
    routes.add_foreign("PATCH", f"{one}/cancel", "write", jobs.cancel, "job.cancel")


def _add_batches(routes: Routes) -> None:
    every, one = f"{BASE}/v1/messages/batches", f"{BASE}/v1/messages/batches/<job_id>"
    routes.add_foreign("POST", every, "write", create_batch, "batch.create")
    routes.add_foreign("GET", every, "read", batches.list_batches)
    routes.add_foreign("GET", one, "read", batches.get_batch)
    routes.add_foreign("GET", f"{one}/messages", "read", batches.list_messages)
    routes.add_foreign("PATCH", f"{one}/cancel", "write", batches.cancel_batch, "job.cancel")


def _add_runs(routes: Routes) -> None:
    every, one = f"{BASE}/v1/runs", f"{BASE}/v1/runs/<run_id>"
    routes.add_foreign("GET", every, "read", runs.list_runs)
    routes.add_foreign("GET", f"{every}/active", "read", runs.list_active)
    routes.add_foreign("GET", one, "read", runs.get_run)
    routes.add_foreign("DELETE", one, "write", runs.delete_run, "job.delete")
    routes.add_foreign("GET", f"{one}/messages", "read", runs.list_messages)
    routes.add_foreign("GET", f"{one}/steps", "read", runs.list_steps)
    routes.add_foreign("POST", f"{one}/stream", "read", stream_run)
    routes.add_foreign("GET", f"{one}/usage", "read", runs.get_usage)
    routes.add_foreign("GET", f"{one}/metrics", "read", runs.get_metrics)
    routes.add_foreign("GET", f"{one}/trace", "read", runs.get_trace)


def _add_steps(routes: Routes) -> None:
    every, one = f"{BASE}/v1/steps", f"{BASE}/v1/steps/<step_id>"
    routes.add_foreign("GET", every, "read", steps.list_all)
    routes.add_foreign("GET", one, "read", steps.get_step)
    routes.add_foreign("GET", f"{one}/metrics", "read", steps.get_metrics)
    routes.add_foreign("GET", f"{one}/trace", "read", steps.get_trace)
    routes.add_foreign("GET", f"{one}/messages", "read", steps.list_messages)
    routes.add_foreign("PATCH", f"{one}/feedback", "write", steps.give_feedback, "step.feedback")
