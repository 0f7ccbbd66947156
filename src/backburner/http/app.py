"""Every route of the API on one page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from quart import Response

from backburner.http import batches, create_batch, deliveries, health, job_lists, jobs, keys, results, retry, scheduler
from backburner.http.auth import KeyRing
from backburner.http.call import Routes
from backburner.http.envelope import EdgeApp, make_app, request_ids
from backburner.http.services import Services


def create_app(services: Services) -> EdgeApp:
    """The application that `hosting.serve_http` serves."""
    app = make_app(request_ids(services.ids))
    routes = Routes(app, services, KeyRing(services.database, services.clock))
    _add_batches(routes)
    _add_jobs(routes)
    _add_admin(routes)
    _add_health(routes)
    return app


def _add_batches(routes: Routes) -> None:
    one = "/batches/<job_id>"
    routes.add("POST", "/batches", "write", create_batch.create_batch)
    routes.add("GET", "/batches", "read", job_lists.list_batches)
    routes.add("GET", one, "read", batches.get_batch)
    routes.add("GET", f"{one}/items", "read", batches.list_items)
    routes.add("GET", f"{one}/results", "read", results.get_results)
    routes.add("POST", f"{one}/retry", "write", retry.retry_batch)
    routes.add("POST", f"{one}/cancel", "write", batches.cancel_batch)


def _add_jobs(routes: Routes) -> None:
    one = "/jobs/<job_id>"
    routes.add("GET", "/jobs", "read", job_lists.list_jobs)
    routes.add("GET", "/jobs/active", "read", job_lists.list_active_jobs)
    routes.add("GET", one, "read", jobs.get_job)
    routes.add("DELETE", one, "write", jobs.delete_job)
    routes.add("PATCH", f"{one}/cancel", "write", jobs.cancel_job)
    routes.add("POST", f"{one}/cancel", "write", jobs.cancel_job)
    routes.add("GET", f"{one}/deliveries", "read", deliveries.list_deliveries)
    routes.add("POST", f"{one}/deliveries/<delivery_id>/redeliver", "write", deliveries.redeliver)


def _add_admin(routes: Routes) -> None:
    routes.add("GET", "/admin/jobs", "admin", job_lists.list_all_jobs)
    routes.add("GET", "/admin/users", "admin", keys.list_users)
    routes.add("GET", "/admin/keys", "admin", keys.list_keys)
    routes.add("POST", "/admin/keys", "admin", keys.create_key)
    routes.add("DELETE", "/admin/keys/<key_id>", "admin", keys.revoke_key)
    routes.add("GET", "/admin/scheduler/status", "admin", scheduler.get_status)
    routes.add("POST", "/admin/scheduler/poll", "admin", scheduler.poll)
    routes.add("POST", "/admin/scheduler/pause", "admin", scheduler.pause_polling)
    routes.add("POST", "/admin/scheduler/resume", "admin", scheduler.resume_polling)
    routes.add("GET", "/admin/batches/unresolved", "admin", scheduler.list_unresolved)
    routes.add("POST", "/admin/batches/<batch_id>/abandon", "admin", scheduler.abandon_batch)
    routes.add("GET", "/webhook-secret", "admin", keys.get_webhook_secret)
    routes.add("POST", "/webhook-secret/rotate", "admin", keys.rotate_webhook_secret)


def _add_health(routes: Routes) -> None:
    _add_open(routes, "/healthz", health.healthz)
    _add_open(routes, "/readyz", health.readyz)
    if routes.services.metrics_public:
        _add_open(routes, "/metrics", health.public_metrics)
    else:
        routes.add_absolute("GET", "/metrics", "read", health.metrics)


def _add_open(routes: Routes, path: str, handler: Callable[[Services], Awaitable[Response]]) -> None:
    """A route that needs no key."""

    async def answer() -> Response:
        return await handler(routes.services)

    routes.app.add_url_rule(path, path, answer, methods=["GET"])
