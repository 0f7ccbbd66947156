"""What `serve` says when it is ready: stable lines for people, or JSON lines for programs."""

from __future__ import annotations

from typing import Protocol

from backburner import __version__
from backburner.cli.output import say, show, show_json
from backburner.profiles import Profile, ProfileError, Profiles
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


def announce_key(url: str, key: str, *, profiles: Profiles, as_json: bool) -> None:
    """Save the first key to a profile of its own and show it, as soon as it exists: there is no other copy."""
    name = _save(Profile(url, key), profiles)
    if as_json:
        show_json({"event": "first_start", "admin_key": key, "profile": name})
        return
    show(f"Key:      {key}")
    show(f"          (admin; shown this once, {f'saved as the profile {name}' if name else 'not saved'})")


def announce(ready: Announced, *, as_json: bool) -> None:
    """Print banner and `ready`, or the same as a JSON event."""
    facts = {"api": ready.url, "database": shown(ready.database), "provider": ready.provider}
    if as_json:
        show_json({"event": "ready", "version": __version__, **facts, "role": ready.role})
        return
    show(f"Backburner {__version__}")
    show(f"API:      {facts['api']}")
    show(f"Database: {facts['database']}")
    show(f"Provider: {_SIMULATED if ready.provider == 'sandbox' else ready.provider}")
    show(f"Role:     {ready.role}")
    show("ready")


def _save(profile: Profile, profiles: Profiles) -> str | None:
    """The profile's name; None where there is no place to write it. A server runs on without."""
    try:
        name = profiles.add(profile)
    except (OSError, ProfileError) as error:
        say(f"Warning: cannot save the key: {str(getattr(error, 'strerror', error)).rstrip('.')}.")
        return None
    if name != profiles.current:
        say(f"Notice: the key is in the profile {name}, since {profiles.current} is another server's.")
        say(f"        Use it with --profile {name}, or always: backburner profiles use {name}")
    return name
