"""Faults in what the service says of its batches."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

View = dict[str, Any]
_TIMES = ("created_at", "expires_at", "ended_at", "cancel_initiated_at", "archived_at")


def _still_running(view: View, _argument: str | None) -> View:
    counts = dict.fromkeys(view["request_counts"], 0) | {"processing": sum(view["request_counts"].values())}
    status = "in_progress" if view["cancel_initiated_at"] is None else "canceling"
    stale = {"processing_status": status, "request_counts": counts}
    return view | stale | {"ended_at": None, "archived_at": None, "results_url": None}


def _unknown_status(view: View, argument: str | None) -> View:
    return view | {"processing_status": argument or "paused"}


def _null_results_url(view: View, _argument: str | None) -> View:
    return view | {"results_url": None}


def _foreign_results_url(view: View, argument: str | None) -> View:
    url = view["results_url"] and (argument or f"https://elsewhere.example/v1/messages/batches/{view['id']}/results")
    return view | {"results_url": url}


def _odd_counts(view: View, argument: str | None) -> View:
    counts = view["request_counts"]
    return view | {"request_counts": counts | {"succeeded": counts["succeeded"] + int(argument or 1)}}


def _archived(view: View, _argument: str | None) -> View:
    return view | {"archived_at": view["ended_at"], "results_url": None}


def _skew(view: View, argument: str | None) -> View:
    by = timedelta(seconds=float(argument or 3600))
    return view | {name: _shifted(view[name], by) for name in _TIMES}


def _shifted(time: str | None, by: timedelta) -> str | None:
    if time is None:
        return None
    return (datetime.fromisoformat(time) + by).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


#: Each takes the right object and the fault's argument, and gives a wrong one.
VIEWS: dict[str, Callable[[View, str | None], View]] = {
    "never_ends": _still_running,
    "backwards": _still_running,
    "unknown_status": _unknown_status,
    "null_results_url": _null_results_url,
    "foreign_results_url": _foreign_results_url,
    "odd_counts": _odd_counts,
    "archived": _archived,
    "skew": _skew,
}


def _stuck_cursor(page: View, _argument: str | None) -> View:
    return page | {"has_more": True}


def _unchanged(page: View, _argument: str | None) -> View:
    return page


def _empty_page(page: View, _argument: str | None) -> View:
    return page | {"data": [], "has_more": True}


#: The same for a page of the list. Those that choose another page do that in `listing.py`: with `stuck_cursor` every
#: page is the first one, with `overlap` a page begins with the last batch of the one before, with `hide_newest` the
#: newest batch (or as many as the argument says) is not in the list yet.
PAGES: dict[str, Callable[[View, str | None], View]] = {
    "stuck_cursor": _stuck_cursor,
    "overlap": _unchanged,
    "empty_page": _empty_page,
    "hide_newest": _unchanged,
}
