"""The user's module: found, imported, and asked for its `App`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import structlog

from backburner.app import App
from backburner.errors import WrongApp
from backburner.execution.failures import Raised, outcome_of
from backburner.files import INGEST_FILE

log = structlog.get_logger()


def load_app(place: str | None) -> App:
    """The App that `MODULE:NAME` names, an empty one for None. The working directory is looked in first.

    Raises WrongApp when there is none, or importing the module fails.
    """
    if place is None:
        return App()
    module, _, name = place.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    outcome = outcome_of(importlib.import_module, {"name": module})
    if isinstance(outcome, Raised):
        where = (outcome.details["traceback"] or [""])[-1]
        raise WrongApp(f"The module {module!r} of --app cannot be imported: {outcome.message} ({where}).")
    app = getattr(outcome.value, name or "app", None)
    if not isinstance(app, App):
        raise WrongApp(f"{module!r} has no App called {name or 'app'!r}.")
    if INGEST_FILE in app.handlers:
        raise WrongApp(f"{module!r} registers the handler {INGEST_FILE!r}, which is built in; give it another name.")
    for handler in app.handlers.values():
        log.info("handler registered", handler=handler.name, executor=handler.executor)
    return app
