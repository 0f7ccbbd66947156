"""Every route of the API on one page."""

from __future__ import annotations

from backburner.http import (
    absent,
    batches,
    create_batch,
    create_job,
    create_run,
    deliveries,
    events,
    files,
    health,
    job_lists,
    jobs,
    keys,
    provider_batches,
    results,
    retry,
    runs,
    scheduler,
    steps,
    tenants,
    update_job,
)
from backburner.http.anthropic.routes import add_anthropic
from backburner.http.auth import KeyRing
from backburner.http.call import Routes
from backburner.http.door import Door
from backburner.http.envelope import EdgeApp, make_app, request_ids
from backburner.http.letta.routes import add_letta
from backburner.http.limiter import Limiter
from backburner.http.openapi.operations import OPERATIONS
from backburner.http.openapi.pages import Pages
from backburner.http.services import Services


def create_app(services: Services) -> EdgeApp:
    """The application that `hosting.serve_http` serves."""
    app = make_app(request_ids(services.ids))
    keys = KeyRing(services.database, services.clock, Limiter(services.clock, services.rate_limits))
    routes = Routes(app, services, keys, Door(services.clock, services.overload))
    _add_batches(routes)
    _add_jobs(routes)
    _add_runs(routes)
    _add_files(routes)
    _add_admin(routes)
    _add_provider_batches(routes)
    _add_health(routes)
    _add_documentation(routes)
    add_anthropic(routes)
    add_letta(routes)
    return app


def _add_batches(routes: Routes) -> None:
    one = "/batches/<job_id>"
    routes.add("POST", "/batches", "write", create_batch.create_batch, "batch.create")
    routes.add("GET", "/batches", "read", job_lists.list_batches)
    routes.add("GET", one, "read", batches.get_batch)
    routes.add("GET", f"{one}/items", "read", batches.list_items)
    routes.add("GET", f"{one}/results", "read", results.get_results)
    routes.add("POST", f"{one}/retry", "write", retry.retry_batch, "batch.retry")
    routes.add("POST", f"{one}/cancel", "write", batches.cancel_batch, "job.cancel")


def _add_jobs(routes: Routes) -> None:
    one = "/jobs/<job_id>"
    routes.add("POST", "/jobs", "write", create_job.create_job, "job.create")
    routes.add("GET", "/jobs", "read", job_lists.list_jobs)
    routes.add("GET", "/jobs/active", "read", job_lists.list_active_jobs)
    routes.add("GET", one, "read", jobs.get_job)
    routes.add("PATCH", one, "write", update_job.update_job, "job.update")
    routes.add("DELETE", one, "write", jobs.delete_job, "job.delete")
    routes.add("PATCH", f"{one}/cancel", "write", jobs.cancel_job, "job.cancel")
    routes.add("POST", f"{one}/cancel", "write", jobs.cancel_job, "job.cancel")
    routes.add("GET", f"{one}/events", "read", events.job_events)
    routes.add("GET", "/events", "read", events.all_events)
    routes.add("GET", f"{one}/steps", "read", steps.list_job_steps)
    routes.add("GET", f"{one}/messages", "read", steps.list_job_messages)
    routes.add("GET", f"{one}/deliveries", "read", deliveries.list_deliveries)
    routes.add("POST", f"{one}/deliveries/<delivery_id>/redeliver", "write", deliveries.redeliver, "delivery.redeliver")


def _add_runs(routes: Routes) -> None:
    routes.add("GET", "/runs", "read", runs.list_runs)
    routes.add("POST", "/runs", "write", create_run.create_run, "run.create")
    routes.add("GET", "/runs/<run_id>", "read", runs.get_run)
    routes.add("POST", "/runs/<run_id>/fork", "write", create_run.fork_run, "run.fork")
    routes.add("GET", "/runs/<run_id>/steps", "read", runs.list_run_steps)
    routes.add("GET", "/runs/<run_id>/messages", "read", runs.list_run_messages)
    routes.add("GET", "/steps/<step_id>", "read", steps.get_step)
    routes.add("GET", "/steps/<step_id>/messages", "read", steps.list_step_messages)


def _add_files(routes: Routes) -> None:
    one = "/files/<file_id>"
    routes.add("POST", "/files", "write", files.create_file, "file.create")
    routes.add("GET", "/files", "read", files.list_files)
    routes.add("GET", one, "read", files.get_file)
    routes.add("DELETE", one, "write", files.delete_file, "file.delete")
    routes.add("PUT", f"{one}/parts/<number>", "write", files.put_part, "file.put_part")
    routes.add("POST", f"{one}/complete", "write", files.complete_file, "file.complete")


def _add_admin(routes: Routes) -> None:
    routes.add("GET", "/admin/jobs", "admin", job_lists.list_all_jobs)
    routes.add("POST", "/admin/organizations", "admin", tenants.create_organization, "organization.create")
    routes.add("GET", "/admin/organizations", "admin", tenants.list_organizations)
    routes.add("POST", "/admin/users", "admin", tenants.create_user, "user.create")
    routes.add("GET", "/admin/users", "admin", keys.list_users)
    routes.add("GET", "/admin/audit", "admin", tenants.list_audit)
    routes.add("GET", "/admin/keys", "admin", keys.list_keys)
    routes.add("POST", "/admin/keys", "admin", keys.create_key, "key.create")
    routes.add("DELETE", "/admin/keys/<key_id>", "admin", keys.revoke_key, "key.revoke")
    routes.add("GET", "/admin/scheduler/status", "admin", scheduler.get_status)
    routes.add("POST", "/admin/scheduler/poll", "admin", scheduler.poll, "scheduler.poll")
    routes.add("POST", "/admin/scheduler/pause", "admin", scheduler.pause_polling, "scheduler.pause")
    routes.add("POST", "/admin/scheduler/resume", "admin", scheduler.resume_polling, "scheduler.resume")
    routes.add("POST", "/admin/scheduler/step-down", "admin", scheduler.step_down, "scheduler.step_down")
    routes.add("GET", "/webhook-secret", "admin", keys.get_webhook_secret, "webhook_secret.view")
    routes.add("POST", "/webhook-secret/rotate", "admin", keys.rotate_webhook_secret, "webhook_secret.rotate")


def _add_provider_batches(routes: Routes) -> None:
    one = "/admin/batches/<batch_id>"
    routes.add("GET", "/admin/batches", "admin", provider_batches.list_batches)
    routes.add("GET", "/admin/batches/unresolved", "admin", provider_batches.list_unresolved)
    routes.add("GET", one, "admin", provider_batches.get_batch)
    routes.add("POST", f"{one}/adopt", "admin", provider_batches.adopt_batch, "provider_batch.adopt")
    routes.add("POST", f"{one}/abandon", "admin", provider_batches.abandon_batch, "provider_batch.abandon")
    routes.add("POST", f"{one}/poll", "admin", provider_batches.poll_batch, "provider_batch.poll")
    provider = "/admin/providers/<provider>"
    routes.add("POST", f"{provider}/move-batches", "admin", absent.move_batches, "provider.move_batches")
    routes.add("POST", f"{provider}/end-batches", "admin", absent.end_batches, "provider.end_batches")


def _add_health(routes: Routes) -> None:
    routes.add_open("/healthz", health.healthz)
    routes.add_open("/readyz", health.readyz)
    if routes.services.metrics_public:
        routes.add_open("/metrics", health.public_metrics)
    else:
        routes.add_absolute("GET", "/metrics", "read", health.metrics)


def _add_documentation(routes: Routes) -> None:
    pages = Pages(routes.listed, OPERATIONS)
    routes.add_open("/openapi.json", pages.openapi_document)
    routes.add_open("/docs", pages.documentation_page)
    routes.add_open("/docs/style.css", pages.documentation_style)
