"""How every connection to PostgreSQL is opened: one transport for all, and limits by what each is for.

A session that turns out to share its backend with others, behind a transaction pooler, keeps nothing between two
transactions: it prepares no statements, and each of its transactions sets its limits for itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain
from typing import Any, TypeVar

import attrs
import psycopg
import structlog
from psycopg.abc import PQGen

from backburner.forks import hide_from_children

RV = TypeVar("RV")

log = structlog.get_logger()

#: A host that loses its power says nothing, and whoever takes its address knows of no connection. With these a
#: connection to it ends within 11 seconds, also while an answer is awaited, instead of after two hours.
TRANSPORT: Mapping[str, Any] = {
    "connect_timeout": 5,
    "target_session_attrs": "read-write",
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
#: What values look like, and how statements are isolated, must not depend on settings of the role or the database.
COMMON: Mapping[str, str] = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "default_transaction_isolation": "read committed",
}
#: Shows that our start-up options have arrived. It means nothing to PostgreSQL.
MARK, MARKED = "backburner.options", "arrived"

#: Raised only from off: who has set more, such as remote_apply, wants more.
_RAISED = "SELECT set_config('synchronous_commit', 'on', {local}) WHERE current_setting('synchronous_commit') = 'off'"
LOOK = f"SELECT pg_backend_pid(), current_setting('{MARK}', true)"
_OPTION = re.compile(r"(?:\\.|[^\s\\])+", re.DOTALL)
_REFUSED = "unsupported startup parameter"


@attrs.frozen(kw_only=True)
class Use:
    """What a connection is for."""

    name: str
    settings: Mapping[str, str]  #: of the session
    #: Seconds that one answer may take before the connection is given up; None where a statement may take any time.
    #: Longer than `statement_timeout`, which ends the statements of a server that is well.
    patience: float | None
    is_logged: bool = True  #: whether what is odd about a session is logged; a command prints, and logs nothing

    def parameters(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        """The user's parameters with ours: of the transport theirs count, of the session's settings ours."""
        ours = {"application_name": self.name, "client_encoding": "utf8", "options": self.options(theirs)}
        return {**TRANSPORT, **theirs, **ours}

    def options(self, theirs: Mapping[str, Any]) -> str:
        settings = {**COMMON, **self.settings, MARK: MARKED}
        ours = [f"-c {name}={_escaped(value)}" for name, value in settings.items()]
        return " ".join([*filter(None, [_their_options(theirs)]), *ours])

    def local_settings(self, theirs: Mapping[str, Any]) -> dict[str, str]:
        """What each transaction sets for itself where the options do not arrive."""
        return {**settings_in(_their_options(theirs)), **COMMON, **self.settings}


#: What bounds how long a frozen instance can hold up others, the next leader first of all.
SERVING = Use(
    name="backburner",
    settings={"statement_timeout": "30s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "5s"},
    patience=40.0,
)
#: Migrations and commands read whole tables; a person watches.
OPERATING = Use(
    name="backburner-db",
    settings={"statement_timeout": "0", "lock_timeout": "30s", "idle_in_transaction_session_timeout": "0"},
    patience=None,
    is_logged=False,
)
LISTENING = Use(name="backburner-listener", settings={}, patience=10.0)


class Session(psycopg.Connection[Any]):
    """One connection of a pool."""

    patience: float | None = None
    #: Whether its backend is, or may be, another one for each transaction.
    pooled = False

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """As psycopg's, with an end: a peer that lives and says nothing is waited for no longer than `patience`."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience)
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001  # its public base does not tell it apart
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {self.patience:g} seconds") from error


@attrs.define(kw_only=True, eq=False)
class Sessions:
    """Opens the sessions of one engine. Called in any thread."""

    use: Use
    #: Whether a proxy has refused our options: then nobody asks it again.
    _without_options: bool = attrs.field(default=False, init=False)
    _told: bool = attrs.field(default=False, init=False)

    def open(self, parameters: Mapping[str, Any]) -> Session:
        """A session by SQLAlchemy's parameters, which are the URL's."""
        session = self._connect(self.use.parameters(parameters))
        hide_from_children(session)
        session.patience = self.use.patience
        session.autocommit = True
        pooled = is_pooled(session.pgconn.backend_pid, session.execute(LOOK).fetchone())
        if pooled:
            self._become_pooled(session)
        else:
            session.execute(_RAISED.format(local="false"))
        session.autocommit = False
        return session

    def _connect(self, parameters: dict[str, Any]) -> Session:
        if not self._without_options:
            try:
                return Session.connect(**parameters)
            except psycopg.OperationalError as error:
                if not is_refused(error):
                    raise
                self._without_options = True
                self._log("start-up parameters refused", error=first_line(error), instead="set in each transaction")
        return Session.connect(**{name: value for name, value in parameters.items() if name != "options"})

    def _become_pooled(self, session: Session) -> None:
        session.pooled = True
        session.prepare_threshold = None
        if not self._told:
            self._log("a transaction pooler is in between", effect="limits are set in each transaction")
            self._told = True

    def _log(self, event: str, **facts: str) -> None:
        if self.use.is_logged:
            log.warning(event, **facts)


def setting_statement(settings: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """A statement that makes these settings for the rest of its transaction, and its parameters."""
    calls = ", ".join(["set_config(%s, %s, true)"] * len(settings))
    return f"SELECT {calls}, ({_RAISED.format(local='true')})", tuple(chain.from_iterable(settings.items()))


def is_pooled(driver_pid: int, look: tuple[Any, ...] | None) -> bool:
    """Whether another backend answers than the one that was connected to, or one that our options have not reached."""
    return look is None or look != (driver_pid, MARKED)


def is_refused(error: psycopg.Error) -> bool:
    """Whether a proxy does not take our start-up options."""
    return _REFUSED in str(error)


def settings_in(options: str | None) -> dict[str, str]:
    """The settings that libpq's `options` make, as the server reads them."""
    words = iter(_unescaped(word) for word in _OPTION.findall(options or ""))
    found: dict[str, str] = {}
    for word in words:
        assignment = next(words, "") if word == "-c" else re.sub(r"^(-c|--)", "", word)
        name, is_assignment, value = assignment.partition("=")
        if is_assignment:
            found[name.replace("-", "_").lower()] = value
    return found


def _their_options(theirs: Mapping[str, Any]) -> str | None:
    """The URL's, else those of the environment, which count only where a connection names none."""
    return theirs.get("options") or _default_options()


def _default_options() -> str | None:
    defaults = {option.keyword: option.val for option in psycopg.pq.Conninfo.get_defaults()}
    value = defaults.get(b"options")
    return value.decode() if value else None


def _escaped(value: str) -> str:
    return re.sub(r"([\\\s])", r"\\\1", value)


def _unescaped(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word, flags=re.DOTALL)


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
