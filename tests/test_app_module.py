"""The module that `serve --app` names."""

from __future__ import annotations

import sys

import pytest

from backburner import App
from backburner.errors import WrongApp
from backburner.serving.app_module import load_app
from backburner.serving.wiring import cluster_of
from backburner.settings import Settings


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_without_a_module_there_are_no_handlers():
    assert load_app(None).handlers == {}


def test_the_module_is_found_in_the_working_directory(folder):
    (folder / "mine_found.py").write_text("from backburner import App\nthing = App()\nthing.handler('h')(lambda: 1)\n")
    assert set(load_app("mine_found:thing").handlers) == {"h"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("mine_broken", "1 / 0", "ZeroDivisionError"),
        ("mine_exits", "import sys; sys.exit(3)", "SystemExit"),
        ("mine_empty", "", "no App called 'app'"),
        ("mine_other", "app = 7", "no App called 'app'"),
    ],
)
def test_a_module_that_cannot_be_used_says_why_in_one_line(folder, name, text, said):
    (folder / f"{name}.py").write_text(text)
    with pytest.raises(WrongApp, match=said) as wrong:
        load_app(f"{name}:app")
    assert "\n" not in str(wrong.value)


def test_a_module_that_is_not_there_says_so(folder):
    with pytest.raises(WrongApp, match="mine_nowhere"):
        load_app("mine_nowhere:app")


def test_what_is_to_run_on_a_cluster_needs_the_address_of_one():
    app = App()

    @app.handler("far", executor="dask")
    def far() -> None: ...

    assert app.handlers["far"].executor == "dask"
    with pytest.raises(WrongApp, match=r"'far' runs on a Dask cluster .* set dask_scheduler"):
        cluster_of(Settings(), app)
    cluster = cluster_of(Settings(dask_scheduler="tcp://127.0.0.1:8786", dask_jobs=7), app)
    assert (cluster.address, cluster.places.total) == ("tcp://127.0.0.1:8786", 7)
    assert cluster_of(Settings(), App()).address is None
