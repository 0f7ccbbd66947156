"""Profiles: the servers that a user knows by name, each with url and key in a file that only its owner can read."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Self

import attrs

from backburner.errors import BackburnerError
from backburner.private_files import private_draft

DEFAULT_URL = "http://127.0.0.1:8283"
DEFAULT = "default"  # the profile that is used when none is named
URL_VARIABLE, KEY_VARIABLE, VARIABLE = "BACKBURNER_URL", "BACKBURNER_API_KEY", "BACKBURNER_PROFILE"

_ALLOWED = "url and key, both text"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class ProfileError(BackburnerError):
    """A profile cannot be used: no such name, not readable, not complete. The message is one line."""


@attrs.frozen
class Profile:
    """A server and the key for it."""

    url: str
    key: str


@attrs.frozen
class Profiles:
    """The profiles of one user. What is there is never overwritten."""

    folder: Path  #: has `profile.toml`, the default, `profiles/NAME.toml`, and `current`, the name to use instead
    named: str | None = None  #: which to use: a name, or a path, which has a slash or ends with .toml

    @classmethod
    def of(cls, environ: Mapping[str, str], named: str | None = None) -> Self:
        """Those of the user whose environment this is; BACKBURNER_PROFILE counts where `named` is None."""
        base = environ.get("XDG_CONFIG_HOME")
        return cls((Path(base) if base else _home() / ".config") / "backburner", named or environ.get(VARIABLE) or None)

    @property
    def current(self) -> str:
        """The name, or path, of the profile that is used."""
        if self.named is not None:
            return self.named
        try:
            return (self.folder / "current").read_text(encoding="utf-8").strip() or DEFAULT
        except (OSError, ValueError):
            return DEFAULT

    def path(self, name: str) -> Path:
        """Where a profile is kept. Raises ProfileError for what can be no name."""
        if _is_path(name):
            return Path(name)
        if not _NAME.fullmatch(name):
            raise ProfileError(f"{name!r} is no name of a profile. Allowed: 1 to 64 of A-Z a-z 0-9 _ . -, or a path.")
        return self.folder / "profile.toml" if name == DEFAULT else self.folder / "profiles" / f"{name}.toml"

    def load(self, name: str | None = None) -> Profile | None:
        """None when there is no such profile. Raises ProfileError when it cannot be used."""
        return read_profile(self.path(name or self.current))

    def used(self) -> Profile | None:
        """The current profile. Raises ProfileError when one is named that is not there."""
        found = self.load()
        if found is None and self.current != DEFAULT and not _is_path(self.current):
            known = ", ".join(self.names()) or "none"
            raise ProfileError(f"There is no profile {self.current!r}. Known: {known}.")
        return found

    def names(self) -> list[str]:
        """The names of those that are there, the default first."""
        others = sorted(file.stem for file in (self.folder / "profiles").glob("*.toml"))
        return [DEFAULT, *others] if (self.folder / "profile.toml").exists() else others

    def of_server(self, url: str) -> str | None:
        """The name of a profile of the server at this URL, if there is one that can be used."""
        return next((name for name in self.names() if self._leads_to(name, url)), None)

    def add(self, profile: Profile, name: str | None = None) -> str:
        """Save it and return its name: `name`, else the one that is to be used, else `default`. Where that is taken
        by another, the next free one of its kind, or one after the server's address. Raises OSError.
        """
        wanted = name or self.named
        if wanted is None:
            is_free = not self.path(DEFAULT).exists() or self._is(DEFAULT, profile)
            wanted = DEFAULT if is_free else _after(profile.url)
        for candidate in _alternatives(wanted):
            if self._make(self.path(candidate), profile) or self._is(candidate, profile):
                return candidate
        raise AssertionError("there are infinitely many names")

    def use(self, name: str) -> None:
        """Let commands use this profile when they name none. Raises ProfileError for one that is not there, OSError."""
        if attrs.evolve(self, named=name).used() is None:
            raise ProfileError(f"There is no profile {name!r}.")
        draft = private_draft(self.folder / "current")
        draft.write_text(f"{name}\n", encoding="utf-8")
        draft.replace(self.folder / "current")

    def _leads_to(self, name: str, url: str) -> bool:
        try:
            found = self.load(name)
        except ProfileError:
            return False
        return found is not None and found.url == url

    def _is(self, name: str, profile: Profile) -> bool:
        try:
            return self.load(name) == profile
        except ProfileError:
            return False

    def _make(self, path: Path, profile: Profile) -> bool:
        """Write it, mode 0600; False when something is there."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # JSON's strings are TOML's basic strings.
        content = f"url = {json.dumps(profile.url)}\nkey = {json.dumps(profile.key)}\n"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        return True


def read_profile(path: Path) -> Profile | None:
    """None when there is no such file. Raises ProfileError when it is no profile."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProfileError(f"Cannot read the profile {path}: {error.strerror}.") from None
    except ValueError:
        raise ProfileError(f"The profile {path} is not TOML. Allowed: {_ALLOWED}.") from None
    url, key = document.get("url"), document.get("key")
    if not isinstance(url, str) or not isinstance(key, str):
        raise ProfileError(f"The profile {path} is not complete. Allowed: {_ALLOWED}.")
    return Profile(url, key)


def address(
    environ: Mapping[str, str], url: str | None = None, key: str | None = None, *, named: str | None = None
) -> tuple[str, str | None]:
    """The server to talk to, and the key: as given, else of the environment, else of the profile.

    The profile's key goes to the profile's server only. A profile that is `named` counts before the environment.
    """
    if named is None:
        url = url or environ.get(URL_VARIABLE) or None
        key = key or environ.get(KEY_VARIABLE) or None
    if url and key:
        return url, key
    saved = Profiles.of(environ, named).used()
    if saved and url in (None, saved.url):
        return saved.url, key or saved.key
    return url or DEFAULT_URL, key


def _is_path(name: str) -> bool:
    return os.sep in name or name.endswith(".toml")


def _after(url: str) -> str:
    """A name made of a server's address."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", url.partition("://")[2]).strip("-.")[:60] or "server"


def _alternatives(name: str) -> Iterator[str]:
    yield name
    stem, end = (name.removesuffix(".toml"), ".toml") if name.endswith(".toml") else (name, "")
    for number in count(2):
        yield f"{stem}-{number}{end}"


def _home() -> Path:
    """The working directory for a user without a home, as in some containers."""
    try:
        return Path.home()
    except RuntimeError:
        return Path.cwd()
