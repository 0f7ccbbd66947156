"""What `serve` says when it is ready: stable lines for people, or JSON lines for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from backburner import __version__
from backburner.cli import profile
from backburner.cli.output import say, show, show_json
from backburner.storage.urls import shown

_SIMULATED = "sandbox (simulated: no request leaves this machine; set BACKBURNER_ANTHROPIC_API_KEY for real ones)"


class Announced(Protocol):
    """What the system tells when it is ready."""

    @property
    def url(self) -> str: ...

    @property
    def database(self) -> str: ...

    @property
    def provider(self) -> str: ...

    @property
    def role(self) -> str: ...

    @property
    def admin_key(self) -> str | None:
        """Only at the first start."""


def announce(ready: Announced, *, profile_path: Path, as_json: bool) -> None:
    """Save the first key to the profile and print banner and `ready`, or the same as JSON events."""
    saved = _save(ready, profile_path)
    facts = {"api": ready.url, "database": shown(ready.database), "provider": ready.provider}
    if as_json:
        if ready.admin_key:
            show_json({"event": "first_start", "admin_key": ready.admin_key, "profile": saved})
        show_json({"event": "ready", "version": __version__, **facts, "role": ready.role})
        return
    show(f"Backburner {__version__}")
    show(f"API:      {facts['api']}")
    show(f"Database: {facts['database']}")
    show(f"Provider: {_SIMULATED if ready.provider == 'sandbox' else ready.provider}")
    show(f"Role:     {ready.role}")
    if ready.admin_key:
        show(f"Key:      {ready.admin_key}")
        show(f"          (admin; shown this once, {f'saved to {saved}' if saved else 'not saved'})")
    show("ready")


def _save(ready: Announced, path: Path) -> str | None:
    """Where the first key is now; None when there is none, or no place to write it. A server runs on without."""
    if ready.admin_key is None:
        return None
    try:
        kept = profile.save(path, profile.Profile(ready.url, ready.admin_key))
    except OSError as error:
        say(f"Warning: cannot save the key to {path}: {error.strerror}.")
        return None
    if kept:
        say(f"Notice: the profile that was there is now {kept}.")
    return str(path)
