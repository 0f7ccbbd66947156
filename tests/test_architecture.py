"""The walls of the design: who may import whom, and what nobody may do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import backburner

PACKAGE = Path(backburner.__file__).parent
MODULES = {
    ".".join(["backburner", *file.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__"): file
    for file in PACKAGE.rglob("*.py")
}
TREES = {name: ast.parse(file.read_text()) for name, file in MODULES.items()}

#: Modules and packages that are a layer of their own; the rest is the domain.
LAYERS = {
    "backburner.__main__": "entry",
    "backburner.providers.base": "domain",  # the contract, apart from those who keep it
    "backburner.http.items": "domain",  # what a request may say, wherever it comes from
    "backburner.http.strict": "domain",
    "backburner.background": "system",
    "backburner.clock": "waiting",
    "backburner.changes": "waiting",
    "backburner.parent_watch": "waiting",
    "backburner.steps": "waiting",
    "backburner.checked_intake": "intake",
    "backburner.settings": "settings",
    "backburner.server_settings": "settings",
    "backburner.setting_fields": "settings",
    "backburner.settings_doc": "settings",
    "backburner.settings_sources": "settings",
    "backburner.logs": "settings",
    **{
        f"backburner.{name}": name
        for name in (
            "actors", "cli", "client", "execution", "http", "ingestion", "intake", "metrics", "providers", "serving",
            "storage", "system", "webhooks",
        )
    },
}  # fmt: skip
BASE = {"domain", "waiting", "version"}
#: What each layer may import besides itself. Nothing reaches upwards, and actors and http know nothing of each other.
MAY_IMPORT = {
    "domain": {"waiting"},
    "waiting": set(),
    "settings": {"domain"},
    "metrics": {"domain"},
    "providers": BASE,
    "webhooks": BASE,
    "execution": BASE,
    "storage": BASE,
    "intake": BASE | {"storage"},
    "actors": BASE | {"execution", "intake", "storage", "providers", "webhooks"},
    "http": BASE | {"storage", "intake"},
    "ingestion": BASE | {"execution", "intake", "storage"},
    "system": BASE | {"storage", "providers", "actors", "execution", "ingestion", "metrics"},
    "serving": BASE
    | {"storage", "providers", "actors", "execution", "ingestion", "metrics", "webhooks", "http", "settings", "system"},
    "client": {"domain", "version"},
    "cli": BASE | {"client", "settings", "serving", "providers", "webhooks", "storage"},
    "version": {"client", "domain"},  # `from backburner import Client, App`
    "entry": {"cli", "client", "domain", "version", "waiting"},
}
#: Foreign packages that only some layers may know.
ONLY_IN = {
    "sqlalchemy": {"storage"},
    "alembic": {"storage"},
    "psycopg": {"storage"},
    "sqlite3": {"storage", "providers"},  # the sandbox has a file of its own
    "asyncio": {"storage"},
    "trio_parallel": {"execution"},
    "pyarrow": {"ingestion"},
    "distributed": {"execution"},
    "trio_asyncio": {"storage", "serving"},
    "anthropic": {"providers"},
    "quart": {"http"},
    "quart_trio": {"http"},
    "hypercorn": {"http"},
    "werkzeug": {"http"},
    "click": {"cli", "entry"},
    "rich": {"cli"},
    "httpx2": {"providers", "webhooks", "client", "cli"},
    "standardwebhooks": {"domain", "webhooks", "client"},
    "prometheus_client": {"metrics", "http"},
}
#: Layers that hold decisions only: no waiting, no files, no network.
PURE = {"domain", "settings", "metrics"}
IMPURE = {"trio", "socket", "subprocess", "threading"}
NEVER = {"httpx", "requests", "aiohttp", "aiosqlite"}


def layer_of(module: str) -> str:
    """The layer of a module: its own, or that of the package it is in."""
    if module == "backburner":
        return "version"
    for name in (module, ".".join(module.split(".")[:2])):
        if name in LAYERS:
            return LAYERS[name]
    return "domain"


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)


@pytest.mark.parametrize("name", sorted(MAY_IMPORT))
def test_a_layer_imports_only_what_is_below_it(name):
    allowed = MAY_IMPORT[name] | {name}
    wrong = {
        f"{module} imports {imported}"
        for module, tree in TREES.items()
        if layer_of(module) == name
        for imported in imports(tree)
        if imported.partition(".")[0] == "backburner" and layer_of(imported) not in allowed
    }
    assert wrong == set()


def test_layers_know_only_the_libraries_that_are_theirs():
    wrong = {
        f"{module} imports {imported}"
        for module, tree in TREES.items()
        for imported in imports(tree)
        if layer_of(module) not in ONLY_IN.get(imported.partition(".")[0], {layer_of(module)})
        or imported.partition(".")[0] in NEVER
        or (layer_of(module) in PURE and imported.partition(".")[0] in IMPURE)
    }
    assert wrong == set()


def test_only_the_entry_and_the_wiring_see_the_settings():
    seers = {
        layer_of(module)
        for module, tree in TREES.items()
        if any(imported == "backburner.settings" for imported in imports(tree))
    }
    assert seers == {"settings", "serving", "cli"}


def calls(tree: ast.Module) -> Iterator[str]:
    return (ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_time_and_chance_come_from_outside():
    """Names taken from `random` are classes to be seeded; the wall clock is read in one place."""
    banned = {"datetime.now", "datetime.utcnow", "date.today", "time.time", "uuid.uuid4", "uuid4", "uuid.uuid1"}
    wrong = {
        f"{module}: {call}"
        for module, tree in TREES.items()
        for call in calls(tree)
        if call in banned and module != "backburner.clock"
    }
    modules = {module for module, tree in TREES.items() if "random" in _plain_imports(tree)}
    names = {name for tree in TREES.values() for name in _taken_from("random", tree)}
    assert wrong == set()
    assert modules == set()
    assert names <= {"Random", "SystemRandom"}


def _plain_imports(tree: ast.Module) -> set[str]:
    return {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}


def _taken_from(module: str, tree: ast.Module) -> set[str]:
    return {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == module
        for alias in node.names
    }


def test_no_channel_is_unbounded():
    wrong = {
        module
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and "open_memory_channel" in ast.unparse(node.func)
        and "inf" in ast.unparse(node.args[0])
    }
    assert wrong == set()


def test_every_kind_of_error_is_caught_only_where_work_is_contained():
    """Elsewhere a broad handler cleans up and lets the error go on."""
    catchers = {
        module
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not _goes_on(node)
    }
    assert catchers == {
        "backburner.actors.loops",
        "backburner.execution.failures",
        "backburner.execution.processes",  # classes of the user's on their way into a process and back
        "backburner.http.guard",
        "backburner.ingestion.ingest",
        "backburner.redaction",  # the text of an object of the user's
        "backburner.signatures",  # a type of the user's that reads its input
    }


def _is_broad(handler: ast.ExceptHandler) -> bool:
    caught = {ast.unparse(part) for part in ast.walk(handler.type)} if handler.type else {"BaseException"}
    return bool(caught & {"Exception", "BaseException"})


def _goes_on(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_modules_stay_small_and_say_what_they_are_for():
    too_long = {module for module, file in MODULES.items() if len(file.read_text().splitlines()) > 350}
    silent = {module for module, tree in TREES.items() if tree.body and not ast.get_docstring(tree)}
    assert too_long <= {"backburner.storage.migrations.versions.0001_first_schema"}
    assert silent == set()


#: Who opens connections to a database. Everybody else would forget what each of them needs.
OPENERS = {
    "create_engine": {"backburner.storage.postgresql", "backburner.storage.sqlite"},
    "connect": {"backburner.storage.sessions", "backburner.storage.line"},
}


def opened_by(module: str) -> set[str]:
    """Which of these calls a module makes: `create_engine`, and `connect` of PostgreSQL's driver."""
    called = [node.func for node in ast.walk(TREES[module]) if isinstance(node, ast.Call)]
    found = {call.attr for call in called if isinstance(call, ast.Attribute) and call.attr == "create_engine"}
    knows_driver = any(name.partition(".")[0] == "psycopg" for name in imports(TREES[module]))
    if knows_driver and any(isinstance(call, ast.Attribute) and call.attr == "connect" for call in called):
        found.add("connect")
    return found


def test_connections_are_opened_in_few_places():
    found = {call: {module for module in MODULES if call in opened_by(module)} for call in OPENERS}
    assert found == OPENERS
