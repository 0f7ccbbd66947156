"""Which server is asked with which key, and the profile that knows it."""

from __future__ import annotations

import json
import stat

import pytest
from tests.client.fakes import ok

from backburner.profiles import Profile, ProfileError, Profiles, read_profile

MINE = Profile("http://mine:1", "bb_mine")


def asked(terminal, *options) -> tuple[str, str | None]:
    (request,) = terminal.run("status", *options, answers=[ok({})]).server.asked
    return f"{request.url.scheme}://{request.url.netloc.decode()}", request.headers.get("authorization")


def test_without_anything_the_default_address_is_asked_without_a_key(terminal):
    assert asked(terminal) == ("http://127.0.0.1:8283", None)


def test_the_profile_is_used(terminal):
    terminal.knows(MINE.url, MINE.key)
    assert asked(terminal) == ("http://mine:1", "Bearer bb_mine")


def test_the_environment_wins_over_the_profile(terminal):
    terminal.knows(MINE.url, MINE.key)
    terminal.environ.update(BACKBURNER_URL="http://theirs:2", BACKBURNER_API_KEY="bb_theirs")
    assert asked(terminal) == ("http://theirs:2", "Bearer bb_theirs")


def test_options_win_over_the_environment(terminal):
    terminal.environ.update(BACKBURNER_URL="http://theirs:2", BACKBURNER_API_KEY="bb_theirs")
    assert asked(terminal, "--url", "http://ours:3", "--key", "bb_ours") == ("http://ours:3", "Bearer bb_ours")


def test_the_profiles_key_never_goes_to_another_server(terminal):
    terminal.knows(MINE.url, MINE.key)
    assert asked(terminal, "--url", "http://elsewhere:4") == ("http://elsewhere:4", None)


def test_who_names_a_server_by_its_url_hears_of_the_profile_with_its_key(terminal):
    terminal.environ["XDG_CONFIG_HOME"] = str(terminal.folder)
    terminal.environ["BACKBURNER_PROFILE"] = ""
    known = Profiles.of(terminal.environ)
    known.add(MINE)
    name = known.add(Profile("http://theirs:2", "bb_theirs"))
    ran = terminal.run("status", "--url", "http://theirs:2", answers=[ok({})])
    assert (ran.server.asked[0].headers.get("authorization"), f"--profile {name}\n" in ran.err) == (None, True)
    assert "--profile" not in terminal.run("status", "--url", "http://elsewhere:4", answers=[ok({})]).err


def test_a_key_alone_goes_to_the_profiles_server(terminal):
    terminal.knows(MINE.url, MINE.key)
    assert asked(terminal, "--key", "bb_other") == ("http://mine:1", "Bearer bb_other")


@pytest.mark.parametrize("options", [["--url", "127.0.0.1:8283"], ["--key", "bb_\n"]])
def test_what_cannot_be_an_address_or_a_key_is_wrong_usage(terminal, options):
    assert terminal.run("status", *options).code == 2


@pytest.fixture
def known(tmp_path) -> Profiles:
    return Profiles(tmp_path / "config")


def test_a_profile_is_readable_by_its_owner_only(known):
    assert known.add(MINE) == "default"
    path = known.path("default")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert known.load() == MINE


def test_a_profile_is_never_overwritten(known):
    odd = Profile('http://"odd"\\', "bb_\x7f")
    names = [known.add(profile) for profile in (MINE, MINE, odd, odd, Profile("http://[::1]:80", "bb_x"))]
    assert names == ["default", "default", "odd", "odd", "1-80"]
    assert known.add(Profile("http://odd", "bb_y")) == "odd-2"
    assert [known.load(name) for name in ("default", "odd", "odd-2")] == [MINE, odd, Profile("http://odd", "bb_y")]
    assert known.current == "default"


def test_a_named_profile_is_no_more_overwritten_than_any(known, tmp_path):
    named = Profiles(known.folder, "mine")
    assert [named.add(MINE), named.add(Profile("http://x", "bb_x"))] == ["mine", "mine-2"]
    path = Profiles(known.folder, str(tmp_path / "p.toml"))
    assert path.add(MINE) == str(tmp_path / "p.toml")
    assert path.add(Profile("http://x", "bb_x")) == str(tmp_path / "p-2.toml")
    broken = known.path("broken")
    broken.write_text("no profile")
    assert known.add(MINE, "broken") == "broken-2"
    assert broken.read_text() == "no profile"


def test_a_profile_is_chosen_by_option_environment_or_once_and_for_all(terminal):
    terminal.environ.update(BACKBURNER_PROFILE="", XDG_CONFIG_HOME=str(terminal.folder))
    for name in ("default", "one", "two", "three"):
        assert terminal.run("profiles", "add", name, "--url", f"http://{name}", "--key", f"bb_{name}").code == 0
    assert asked(terminal) == ("http://default", "Bearer bb_default")
    assert terminal.run("profiles", "use", "one").code == 0
    assert asked(terminal) == ("http://one", "Bearer bb_one")
    terminal.environ["BACKBURNER_PROFILE"] = "two"
    assert asked(terminal) == ("http://two", "Bearer bb_two")
    assert asked(terminal, "--profile", "three") == ("http://three", "Bearer bb_three")
    terminal.environ["BACKBURNER_URL"] = "http://elsewhere"
    assert asked(terminal, "--profile", "three") == ("http://three", "Bearer bb_three")
    listed = [json.loads(line) for line in terminal.run("profiles", "list", "--json").out.splitlines()]
    assert [(row["name"], row["current"]) for row in listed] == [
        ("default", False),
        ("one", False),
        ("three", False),
        ("two", True),
    ]
    assert "bb_" not in terminal.run("profiles", "list").out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["status", "--profile", "none"], "There is no profile 'none'. Known: default."),
        (["status", "--profile", "a b"], "'a b' is no name of a profile."),
        (["profiles", "use", "none"], "There is no profile 'none'. Known: default."),
        (["profiles", "add", "default", "--url", "http://x", "--key", "bb_x"], "The profile default has another"),
    ],
)
def test_a_profile_that_cannot_be_is_said_in_one_line(terminal, command, said):
    terminal.environ.update(BACKBURNER_PROFILE="", XDG_CONFIG_HOME=str(terminal.folder))
    terminal.knows("http://mine", "bb_mine", str(terminal.folder / "backburner" / "profile.toml"))
    ran = terminal.run(*command)
    assert (ran.code, ran.err.count("\n"), ran.err.startswith(f"Error: {said}")) == (2, 1, True)


def test_a_profile_that_others_can_read_is_warned_of(terminal):
    terminal.knows(MINE.url, MINE.key)
    terminal.profile.chmod(0o640)
    assert terminal.run("status", answers=[ok({})]).err.startswith(f"Warning: others can read {terminal.profile}")


@pytest.mark.parametrize("content", ["url = 1", "url = 'x'", "url", "key = 'bb_x'"])
def test_a_broken_profile_is_named(tmp_path, content):
    path = tmp_path / "profile.toml"
    path.write_text(content)
    with pytest.raises(ProfileError, match=r"The profile .* is not .*\. Allowed: url and key, both text\."):
        read_profile(path)
