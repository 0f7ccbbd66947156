"""Database URLs: how they are read, and how they are shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from backburner.errors import Invalid
from backburner.redaction import REDACTED

_SQLITE = re.compile(r"sqlite://(?:/(?P<path>.*))?", re.DOTALL)
#: As SQLAlchemy reads it, with one difference: several hosts may stand where the one host stands, as libpq has it.
_POSTGRESQL = re.compile(
    r"postgres(?:ql)?(?:\+psycopg)?://(?P<who>[^:/@]*(?::[^@]*)?@)?(?P<hosts>[^/?]*)(?P<rest>.*)", re.DOTALL
)
_HOST = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<name>[^:]*))(?::(?P<port>[0-9]*))?")
_SECRET_PARAMETER = re.compile(r"(password|secret|token)$")


def parse_url(text: str) -> sa.URL:
    """A SQLite or PostgreSQL URL; raises Invalid, without the URL in its words, for anything else.

    What follows `sqlite:///` is a path, character for character. PostgreSQL's URLs are libpq's, with any of the schemes
    that are in use for them.
    """
    if sqlite := _SQLITE.fullmatch(text):
        return sa.URL.create("sqlite", database=sqlite["path"] or None)
    if postgresql := _POSTGRESQL.fullmatch(text):
        return _checked(_parsed(postgresql["who"] or "", postgresql["hosts"], postgresql["rest"]))
    raise _invalid("is no URL of a database: use sqlite:///FILE or postgresql://USER@HOST/NAME")


def _parsed(who: str, hosts: str, rest: str) -> sa.URL:
    several = hosts.split(",") if "," in hosts else []
    try:
        url = sa.make_url(f"postgresql+psycopg://{who}{'' if several else hosts}{rest}")
    except (sa.exc.ArgumentError, ValueError, TypeError):
        raise _invalid("has a host or port that cannot be read") from None
    return url.update_query_dict(_hosts(several)) if several else url


def _hosts(several: list[str]) -> dict[str, str]:
    found = [_HOST.fullmatch(host) for host in several]
    if None in found:
        raise _invalid("has a host or port that cannot be read")
    named = [match for match in found if match]
    host = {"host": ",".join(match["ipv6"] or match["name"] or "" for match in named)}
    ports = [match["port"] or "" for match in named]
    return host | ({"port": ",".join(ports)} if any(ports) else {})


def _checked(url: sa.URL) -> sa.URL:
    """The URL, once the driver has understood its parameters."""
    import psycopg  # noqa: PLC0415  # a server on SQLite starts sooner without it

    try:
        psycopg.conninfo.make_conninfo("", **libpq_parameters(url))
    except (sa.exc.ArgumentError, ValueError):
        raise _invalid("has hosts and ports that do not go together") from None
    except psycopg.ProgrammingError as error:
        hint = "; a schema is chosen by options=-csearch_path%3DNAME" if "schema" in url.query else ""
        raise _invalid(f"has a parameter that PostgreSQL does not know ({str(error).strip()}){hint}") from None
    return url


def libpq_parameters(url: sa.URL) -> dict[str, Any]:
    """What a PostgreSQL URL says, by libpq's keywords."""
    _, parameters = url.get_dialect()().create_connect_args(url)
    return dict(parameters)


def _invalid(reason: str) -> Invalid:
    return Invalid(f"The database URL {reason}.", param="database_url")


def shown(text: str) -> str:
    """The URL with its secrets starred: what may be printed and logged."""
    try:
        url = parse_url(text)
    except Invalid:
        return REDACTED
    if url.get_backend_name() == "sqlite":
        return text
    query = {name: _shown_value(name, value) for name, value in url.query.items()}
    plain = url.set(drivername="postgresql", query=query).render_as_string(hide_password=True)
    return plain.replace("%2A%2A%2A", REDACTED)


def _shown_value(name: str, value: Any) -> Any:
    return REDACTED if _SECRET_PARAMETER.search(name) else value


def sqlite_file(text: str) -> Path | None:
    """The file of a SQLite URL; None for other databases and for one in memory."""
    path = parse_url(text).database if text.startswith("sqlite:") else None
    return None if path in (None, "", ":memory:") else Path(str(path))
