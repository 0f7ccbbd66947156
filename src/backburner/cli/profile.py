"""The profile: url and key of a server in a file that only its owner can read."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path

import attrs

from backburner.setting_fields import SettingError

_ALLOWED = "url and key, both text"


@attrs.frozen
class Profile:
    """A server and the key for it."""

    url: str
    key: str


def load(path: Path) -> Profile | None:
    """None when there is no profile. Raises SettingError when it cannot be used."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingError(f"Cannot read the profile {path}: {error.strerror}.") from None
    except ValueError:
        raise SettingError(f"The profile {path} is not TOML. Allowed: {_ALLOWED}.") from None
    url, key = document.get("url"), document.get("key")
    if not isinstance(url, str) or not isinstance(key, str):
        raise SettingError(f"The profile {path} is not complete. Allowed: {_ALLOWED}.")
    return Profile(url, key)


def save(path: Path, profile: Profile) -> Path | None:
    """Write the profile, mode 0600, whole or not at all. A different one is kept beside it: its path, else None."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = _keep_other(path, profile)
    # JSON's strings are TOML's basic strings.
    content = f"url = {json.dumps(profile.url)}\nkey = {json.dumps(profile.key)}\n"
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    temporary.replace(path)
    return kept


def others_can_read(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except OSError:
        return False


def _keep_other(path: Path, profile: Profile) -> Path | None:
    try:
        if load(path) in (None, profile):
            return None
    except SettingError:
        pass
    kept = path.with_name(f"{path.name}.old")
    path.replace(kept)
    return kept
