"""What a long search says while it runs."""

from __future__ import annotations

from simulation.seeds import Progress, in_processes


def tried(number: int) -> str:
    return f"{number} is odd" if number % 2 else ""


def test_a_failure_is_told_when_it_is_found_and_the_search_goes_on():
    said: list[str] = []
    progress = Progress("seeds", 4, said.append)
    heard = []
    for report in in_processes(tried, range(4), jobs=1):
        progress.add(report)
        heard.append(list(said))
    assert heard == [[], ["1 is odd"], ["1 is odd"], ["1 is odd", "3 is odd"]]
    assert progress.line().startswith("4 of 4 seeds in 0 s, ")
    assert progress.line().endswith("2 of them broke a promise")


def test_several_processes_try_everything_once():
    assert sorted(in_processes(tried, range(4), jobs=2)) == ["", "", "1 is odd", "3 is odd"]
