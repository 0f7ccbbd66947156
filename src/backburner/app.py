"""`App`: where a user's module registers the handlers that run its jobs and the tools that its agents use."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

import attrs

from backburner.errors import WrongApp
from backburner.signatures import Signature, signature_of

Executor = Literal["async", "thread", "process", "dask"]
Choice = Literal["auto", "async", "thread", "process", "dask"]
F = TypeVar("F", bound=Callable[..., Any])

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,254}")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # what model providers accept
MEBIBYTE = 1024 * 1024
LONGEST = 366 * 86_400.0  # seconds; what is much longer has no date that it would end at
MOST_MEMORY = 16 * 1024**2  # mebibytes: 16 TiB, more than a machine has


@attrs.frozen(kw_only=True)
class Handler:
    """A function that executes jobs, and under which rules. Times in seconds."""

    name: str
    function: Callable[..., Any]
    executor: Executor
    signature: Signature
    description: str
    concurrency: int | None  #: at once on one instance; None: as many as its executor has places for
    per_organization: int | None  #: of those, for one organization
    timeout_seconds: float  #: of one attempt
    stuck_after_seconds: float | None  #: without progress: reported; after as long again: cancelled
    max_attempts: int
    backoff_seconds: float  #: before the second attempt; doubles, with jitter
    backoff_cap_seconds: float
    memory_bytes: int | None  #: of a process, beyond what it has at the start; None: no limit
    #: Raises Invalid for arguments that have the right types and are wrong all the same.
    check: Callable[[dict[str, Any]], None] | None = None


@attrs.frozen(kw_only=True)
class Tool:
    """A function that agents may call."""

    name: str
    description: str
    input_schema: dict[str, Any]
    function: Callable[..., Any]
    executor: Executor
    idempotent: bool  #: whether it may run again when it is not known whether it has run
    timeout_seconds: float
    signature: Signature


@attrs.define(eq=False)
class App:
    """Handlers and tools by name. `serve --app MODULE:NAME` runs the one that MODULE calls NAME."""

    handlers: dict[str, Handler] = attrs.field(factory=dict, init=False)
    tools: dict[str, Tool] = attrs.field(factory=dict, init=False)

    def handler(
        self,
        name: str,
        *,
        cpu: bool = False,
        executor: Choice = "auto",
        concurrency: int | None = None,
        per_organization: int | None = None,
        timeout_seconds: float = 3600.0,
        stuck_after_seconds: float | None = None,
        max_attempts: int = 3,
        backoff_seconds: float = 1.0,
        backoff_cap_seconds: float = 300.0,
        memory_mb: float | None = None,
    ) -> Callable[[F], F]:
        """Register the decorated function; it stays as it is.

        Its parameters are the fields of the job's input, one named `ctx` takes the context, what it returns is the
        result. Raises WrongApp for a name that is taken, a signature that is not JSON, times or memory that cannot be.
        """
        if not _NAME.fullmatch(name) or name in self.handlers:
            raise WrongApp(f"The handler name {name!r} is {'taken' if name in self.handlers else 'not allowed'}.")

        def register(function: F) -> F:
            self.handlers[name] = Handler(
                name=name,
                function=function,
                executor=choose_executor(function, executor, cpu=cpu),
                signature=signature_of(function),
                description=inspect.getdoc(function) or "",
                concurrency=_at_least_one("concurrency", concurrency),
                per_organization=_at_least_one("per_organization", per_organization),
                timeout_seconds=_seconds("timeout_seconds", timeout_seconds),
                stuck_after_seconds=None
                if stuck_after_seconds is None
                else _seconds("stuck_after_seconds", stuck_after_seconds),
                max_attempts=max(1, max_attempts),
                backoff_seconds=_seconds("backoff_seconds", backoff_seconds, may_be_0=True),
                backoff_cap_seconds=_seconds("backoff_cap_seconds", backoff_cap_seconds, may_be_0=True),
                memory_bytes=None if memory_mb is None else _bytes("memory_mb", memory_mb),
            )
            return function

        return register

    def tool(
        self,
        name: str | None = None,
        *,
        cpu: bool = False,
        executor: Choice = "auto",
        idempotent: bool = False,
        timeout_seconds: float = 60.0,
        description: str | None = None,
    ) -> Callable[[F], F]:
        """Register the decorated function as a tool, by default under its own name and with its docstring.

        Raises WrongApp as `handler` does.
        """

        def register(function: F) -> F:
            called = name or function.__name__
            if not _TOOL_NAME.fullmatch(called) or called in self.tools:
                raise WrongApp(f"The tool name {called!r} is {'taken' if called in self.tools else 'not allowed'}.")
            signature = signature_of(function)
            self.tools[called] = Tool(
                name=called,
                description=inspect.getdoc(function) or "" if description is None else description,
                input_schema=signature.input_schema(),
                function=function,
                executor=choose_executor(function, executor, cpu=cpu),
                idempotent=idempotent,
                timeout_seconds=_seconds("timeout_seconds", timeout_seconds),
                signature=signature,
            )
            return function

        return register


def choose_executor(function: Callable[..., Any], wanted: Choice, *, cpu: bool) -> Executor:
    """Where a function runs: `async def` as a task, `def` in a thread, with `cpu` in a process, as `wanted` elsewhere.

    Raises WrongApp where `wanted` says what cannot be.
    """
    if wanted not in get_args(Choice):
        raise WrongApp(f"There is no executor {wanted!r}; there are {', '.join(get_args(Choice))}.")
    is_async = inspect.iscoroutinefunction(function)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise WrongApp(f"{function.__qualname__} is a generator; it has to return its result.")
    if is_async and (cpu or wanted not in {"auto", "async"}):
        raise WrongApp(
            f"{function.__qualname__} is `async def`; only a `def` runs in a thread, in a process or on a cluster."
        )
    if wanted == "async" and not is_async:
        raise WrongApp(f"{function.__qualname__} is a `def`; only an `async def` runs as a task.")
    if wanted != "auto":
        return wanted
    return "async" if is_async else "process" if cpu else "thread"


def _at_least_one(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise WrongApp(f"{name} is {value}; it has to be at least 1.")
    return value


def _bytes(name: str, mebibytes: float) -> int:
    if not 1 <= mebibytes <= MOST_MEMORY:
        raise WrongApp(f"{name} is {mebibytes}; it has to be at least 1 and at most {MOST_MEMORY}.")
    return int(mebibytes * MEBIBYTE)


def _seconds(name: str, value: float, *, may_be_0: bool = False) -> float:
    if not (0 < value <= LONGEST or (may_be_0 and value == 0)):  # NaN is not within anything
        raise WrongApp(
            f"{name} is {value}; it has to be {'at least' if may_be_0 else 'above'} 0 and at most {LONGEST:.0f}."
        )
    return value
