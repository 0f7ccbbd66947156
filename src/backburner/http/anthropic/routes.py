"""The routes of the surface for Anthropic's clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from quart import Response, g, request

from backburner.http.anthropic.batches import cancel_batch, delete_batch, get_batch, get_results
from backburner.http.anthropic.create import create_batch
from backburner.http.anthropic.headers import check_version
from backburner.http.anthropic.listing import list_batches
from backburner.http.anthropic.problems import problem_response
from backburner.http.anthropic.shapes import BASE, BATCHES
from backburner.http.call import Call, Routes

ORGANIZATION = "anthropic-organization-id"


def add_anthropic(routes: Routes) -> None:
    """Put the surface on the application."""
    routes.app.surfaces[f"{BASE}/"] = problem_response
    routes.app.after_request(_named)
    batches = BASE + BATCHES
    one = f"{batches}/<batch_id>"
    routes.add_foreign("POST", batches, "write", _versioned(create_batch), "batch.create")
    routes.add_foreign("GET", batches, "read", _versioned(list_batches))
    routes.add_foreign("GET", one, "read", _versioned(get_batch))
    routes.add_foreign("DELETE", one, "write", _versioned(delete_batch), "job.delete")
    routes.add_foreign("POST", f"{one}/cancel", "write", _versioned(cancel_batch), "job.cancel")
    routes.add_foreign("GET", f"{one}/results", "read", _versioned(get_results))


def _versioned(handler: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
    async def answer(call: Call, **path: str) -> Response:
        check_version(call.request.headers)
        return await handler(call, **path)

    return answer


async def _named(response: Response) -> Response:
    """Every answer to somebody known says whose it is, errors too."""
    if request.path.startswith(f"{BASE}/") and "principal" in g:
        response.headers[ORGANIZATION] = g.principal.organization_id
    return response
