"""Which server is asked with which key, and the profile that knows it."""

from __future__ import annotations

import stat

import pytest
from tests.client.fakes import ok

from backburner.cli import profile
from backburner.cli.profile import Profile
from backburner.setting_fields import SettingError

MINE = Profile("http://mine:1", "bb_mine")


def asked(terminal, *options) -> tuple[str, str | None]:
    (request,) = terminal.run("status", *options, answers=[ok({})]).server.asked
    return f"{request.url.scheme}://{request.url.netloc.decode()}", request.headers.get("authorization")


def test_without_anything_the_default_address_is_asked_without_a_key(terminal):
    assert asked(terminal) == ("http://127.0.0.1:8283", None)


def test_the_profile_is_used(terminal):
    profile.save(terminal.profile, MINE)
    assert asked(terminal) == ("http://mine:1", "Bearer bb_mine")


def test_the_environment_wins_over_the_profile(terminal):
    profile.save(terminal.profile, MINE)
    terminal.environ.update(BACKBURNER_URL="http://theirs:2", BACKBURNER_API_KEY="bb_theirs")
    assert asked(terminal) == ("http://theirs:2", "Bearer bb_theirs")


def test_options_win_over_the_environment(terminal):
    terminal.environ.update(BACKBURNER_URL="http://theirs:2", BACKBURNER_API_KEY="bb_theirs")
    assert asked(terminal, "--url", "http://ours:3", "--key", "bb_ours") == ("http://ours:3", "Bearer bb_ours")


def test_the_profiles_key_never_goes_to_another_server(terminal):
    profile.save(terminal.profile, MINE)
    assert asked(terminal, "--url", "http://elsewhere:4") == ("http://elsewhere:4", None)


def test_a_key_alone_goes_to_the_profiles_server(terminal):
    profile.save(terminal.profile, MINE)
    assert asked(terminal, "--key", "bb_other") == ("http://mine:1", "Bearer bb_other")


@pytest.mark.parametrize("options", [["--url", "127.0.0.1:8283"], ["--key", "bb_\n"]])
def test_what_cannot_be_an_address_or_a_key_is_wrong_usage(terminal, options):
    assert terminal.run("status", *options).code == 2


def test_a_profile_is_readable_by_its_owner_only(tmp_path):
    path = tmp_path / "new" / "profile.toml"
    profile.save(path, MINE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert profile.load(path) == MINE


def test_a_profile_that_is_replaced_is_kept_beside(tmp_path):
    path = tmp_path / "profile.toml"
    assert profile.save(path, MINE) is None
    assert profile.save(path, MINE) is None
    kept = profile.save(path, Profile('http://"odd"\\', "bb_\x7f"))
    assert kept is not None
    assert kept == tmp_path / "profile.toml.old"
    assert profile.load(kept) == MINE
    assert profile.load(path) == Profile('http://"odd"\\', "bb_\x7f")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_profile_that_others_can_read_is_warned_of(terminal):
    profile.save(terminal.profile, MINE)
    terminal.profile.chmod(0o640)
    assert terminal.run("status", answers=[ok({})]).err.startswith(f"Warning: others can read {terminal.profile}")


@pytest.mark.parametrize("content", ["url = 1", "url = 'x'", "url", "key = 'bb_x'"])
def test_a_broken_profile_is_named(tmp_path, content):
    path = tmp_path / "profile.toml"
    path.write_text(content)
    with pytest.raises(SettingError, match=r"The profile .* is not .*\. Allowed: url and key, both text\."):
        profile.load(path)
