"""Settings: where they come from, what they refuse, and what their documentation says."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from backburner.setting_fields import SettingError, about
from backburner.settings import Settings
from backburner.settings_doc import markdown
from backburner.settings_sources import load

DOCUMENTATION = Path(__file__).parent.parent / "docs" / "settings.md"
FIELDS = attrs.fields(Settings)
SEED_NAMES = {
    "poll_running_llm_batches_interval_seconds": 60.0,
    "batch_job_polling_lookback_weeks": 2,
    "batch_job_polling_batch_size": 1000,
    "poll_lock_retry_interval_seconds": 1.0,
    "enable_batch_job_polling": True,
    "pg_pool_size": 25,
    "pg_max_overflow": 10,
    "pg_pool_timeout": 30.0,
    "pg_pool_recycle": 1800.0,
    "llm_request_timeout_seconds": 60.0,
    "event_loop_threadpool_max_workers": 40,
}


def toml(folder: Path, content: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(content)
    return path


def test_documentation_is_current():
    assert DOCUMENTATION.read_text(encoding="utf-8") == markdown()


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_setting_says_what_it_means(field):
    assert about(field).meaning.endswith(".")


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_number_that_has_a_dimension_has_a_unit(field):
    dimensioned = isinstance(field.default, int | float) and not isinstance(field.default, bool)
    assert bool(about(field).unit) == dimensioned or field.name in {
        "port",
        "sandbox_seed",
        "sandbox_speed",
        "sandbox_errored_share",
        "sandbox_expired_share",
        "sandbox_canceled_share",
        "submit_settle_seconds",
        "chunk_items",
        "job_processes",
        "job_process_memory_bytes",
        "rate_limit_requests_per_second",
        "quota_file_bytes",
        "quota_open_jobs",
        "quota_items_per_day",
        "quota_bytes_per_day",
    }


def test_the_seeds_names_and_only_they_are_read_with_the_seeds_prefix():
    assert {field.name for field in FIELDS if about(field).seed_name} == set(SEED_NAMES)


@pytest.mark.parametrize(("name", "default"), SEED_NAMES.items())
def test_seed_settings_have_their_defaults(name, default):
    assert getattr(load({}), name) == default


def test_command_line_wins_over_environment_over_file_over_default(tmp_path):
    path = toml(tmp_path, 'port = 1\nhost = "file"\nlog_level = "debug"\n')
    environ = {"BACKBURNER_PORT": "2", "BACKBURNER_HOST": "environ"}
    found = load(environ, path, {"port": 3, "host": None})
    assert (found.port, found.host, found.log_level, found.log_format) == (3, "environ", "debug", "text")


def test_the_file_may_be_named_by_the_environment(tmp_path):
    assert load({"BACKBURNER_CONFIG": str(toml(tmp_path, "port = 17"))}).port == 17


def test_a_seed_variable_is_read_with_a_notice():
    notices: list[str] = []
    found = load({"LETTA_PG_POOL_SIZE": "7"}, notice=notices.append)
    assert found.pg_pool_size == 7
    assert notices == ["LETTA_PG_POOL_SIZE is read as BACKBURNER_PG_POOL_SIZE, which is not set."]


def test_our_variable_wins_over_the_seeds_without_a_notice():
    notices: list[str] = []
    found = load({"LETTA_PG_POOL_SIZE": "7", "BACKBURNER_PG_POOL_SIZE": "8"}, notice=notices.append)
    assert (found.pg_pool_size, notices) == (8, [])


def test_other_settings_are_not_read_with_the_seeds_prefix():
    assert load({"LETTA_PORT": "7"}).port == 8283


def test_a_misspelt_variable_is_ignored_with_a_notice():
    notices: list[str] = []
    load({"BACKBURNER_PROT": "7", "BACKBURNER_URL": "http://x"}, notice=notices.append)
    assert notices == ["BACKBURNER_PROT is not a setting and is ignored. Did you mean port?"]


@pytest.mark.parametrize(
    ("name", "value", "shown", "allowed"),
    [
        ("port", "65536", "'65536'", "a whole number from 0 to 65,535"),
        ("port", "8e", "'8e'", "a whole number from 0 to 65,535"),
        ("pg_pool_timeout", "nan", "'nan'", "a number from 0.1 to 3,600"),
        ("metrics_public", "maybe", "'maybe'", "true or false (also yes, no, on, off, 1, 0)"),
        ("log_format", "xml", "'xml'", "text or json"),
        ("provider", "openai", "'openai'", "anthropic or sandbox; or nothing"),
        (
            "database_url",
            "mysql://me:pw@host/x",
            "'mysql://me:***@host/x'",
            "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME",
        ),
        ("bootstrap_key", "bb_short", "***", "bb_ and at least 24 of A-Z a-z 0-9 _ -; or nothing"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name, value, shown, allowed):
    variable = f"BACKBURNER_{name.upper()}"
    with pytest.raises(SettingError) as caught:
        load({variable: value})
    assert str(caught.value) == f"Setting {name}: {shown} (from {variable}) is not allowed. Allowed: {allowed}."


def test_a_wrong_value_never_takes_more_than_a_line():
    with pytest.raises(SettingError) as caught:
        load({"BACKBURNER_HOST": "a\nb" * 500})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prot = 1", "Setting 'prot' (from {path}) does not exist. Did you mean port?"),
        ("port = true", "Setting port: True (from {path}) is not allowed. Allowed: a whole number from 0 to 65,535."),
        ("port = [1]", "Setting port: [1] (from {path}) is not allowed. Allowed: a whole number from 0 to 65,535."),
        ("port = ", "The settings file {path} is not TOML: Invalid value (at end of document)."),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path, content, message):
    path = toml(tmp_path, content)
    with pytest.raises(SettingError) as caught:
        load({}, path)
    assert str(caught.value) == message.format(path=path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(SettingError, match=r"Cannot read the settings file .*: No such file or directory"):
        load({}, tmp_path / "none.toml")


def test_bad_values_are_refused_also_without_load():
    with pytest.raises(SettingError, match="port"):
        Settings(port=-1)


def test_secrets_do_not_show_in_the_representation():
    found = Settings(
        anthropic_api_key="sk-ant-canary",
        bootstrap_key="bb_" + "canary" * 4,
        webhook_secret="whsec_" + "canary00" * 4,
        database_url="postgresql://me:canary@host/db",
    )
    assert "canary" not in repr(found)
    assert "me:***@host" in repr(found)


def test_empty_text_unsets_an_optional_setting():
    assert load({"BACKBURNER_PROVIDER": "", "BACKBURNER_CHUNK_ITEMS": ""}).chunk_items is None


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "sandbox"),
        ({"anthropic_api_key": "k"}, "anthropic"),
        ({"anthropic_api_key": "k", "provider": "sandbox"}, "sandbox"),
    ],
)
def test_the_provider_follows_the_key_unless_it_is_set(given, name):
    assert Settings(**given).provider_name == name


OF_A_SERVICE = {
    "BACKBURNER_PORT": "tcp://10.96.0.7:8283",
    "BACKBURNER_PORT_8283_TCP": "tcp://10.96.0.7:8283",
    "BACKBURNER_PORT_8283_TCP_ADDR": "10.96.0.7",
    "BACKBURNER_PORT_8283_TCP_PORT": "8283",
    "BACKBURNER_PORT_8283_TCP_PROTO": "tcp",
    "BACKBURNER_SERVICE_HOST": "10.96.0.7",
    "BACKBURNER_SERVICE_PORT": "8283",
    "BACKBURNER_SERVICE_PORT_HTTP": "8283",
    "BACKBURNER_POSTGRES_PORT": "tcp://10.96.0.8:5432",
    "BACKBURNER_POSTGRES_SERVICE_HOST": "10.96.0.8",
}


def test_what_kubernetes_sets_beside_a_service_is_ignored_with_one_notice():
    notices: list[str] = []
    found = load({**OF_A_SERVICE, "BACKBURNER_HOST": "0.0.0.0", "BACKBURNER_PROT": "7"}, notice=notices.append)
    assert (found.port, found.host) == (8283, "0.0.0.0")
    told, misspelt = notices
    assert told.startswith("BACKBURNER_PORT and 9 more are set by Kubernetes")
    assert misspelt == "BACKBURNER_PROT is not a setting and is ignored. Did you mean port?"


def test_a_port_that_is_no_address_is_still_ours(tmp_path):
    others = {name: value for name, value in OF_A_SERVICE.items() if name != "BACKBURNER_PORT"}
    assert load({**others, "BACKBURNER_PORT": "17"}).port == 17
    assert load(OF_A_SERVICE, toml(tmp_path, "port = 18")).port == 18
    with pytest.raises(SettingError, match="'http://x'"):
        load({"BACKBURNER_PORT": "http://x"})


@pytest.mark.parametrize(
    ("given", "ports"),
    [("443", {443}), ("80, 9000", {80, 9000}), ([80, "9000"], {80, 9000}), ("any", None), (["443"], {443})],
)
def test_callback_ports_are_listed(given, ports):
    found = Settings(callback_ports=given).callback_ports
    assert found == ports


@pytest.mark.parametrize("given", ["", "http", "0", "65536", "80,", 80, []])
def test_what_is_no_list_of_ports_is_refused(given):
    with pytest.raises(SettingError, match="callback_ports"):
        Settings(callback_ports=given)


@pytest.mark.parametrize(
    "url", ["postgres://h/db", "postgresql+psycopg://h/db", "postgresql://h1:5,h2:6/db", "sqlite:///a?b%20c.db"]
)
def test_urls_in_use_are_accepted(url):
    assert Settings(database_url=url).database_url == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hun/ter2@host/db",
        "postgresql://host/db?password=hunter2",
        "postgres://me:hun@ter2@host/db",
        "postgresql+psycopg://me:hun/ter2@host/db",
    ],
)
def test_a_database_password_is_never_in_the_representation(url):
    shown = repr(Settings(database_url=url, database_direct_url=url))
    assert ("ter2" in shown, shown.count("***")) == (False, 2)
