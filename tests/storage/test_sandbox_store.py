"""What the sandbox keeps in a database that several servers share."""

from __future__ import annotations

from tests.storage.both import Stock

from backburner.storage import sandbox_store


def test_what_one_sandbox_keeps_another_one_reads(stock: Stock) -> None:
    assert sandbox_store.load(stock.tx) == ([], 0)
    assert sandbox_store.add(stock.tx, 2, b"second", [b"a", b"b"])
    assert sandbox_store.add(stock.tx, 1, b"first", [b"c"])
    sandbox_store.replace(stock.tx, 2, b"second, cancelled")
    assert sandbox_store.load(stock.tx) == ([b"first", b"second, cancelled"], 2)
    assert [sandbox_store.page(stock.tx, 2, number) for number in range(3)] == [b"a", b"b", None]


def test_a_sequence_is_given_once(stock: Stock) -> None:
    assert sandbox_store.add(stock.tx, 1, b"ours", [b"a"])
    assert not sandbox_store.add(stock.tx, 1, b"theirs", [b"b"])
    assert (sandbox_store.load(stock.tx), sandbox_store.page(stock.tx, 1, 0)) == (([b"ours"], 1), b"a")


def test_what_is_deleted_leaves_its_sequence(stock: Stock) -> None:
    sandbox_store.add(stock.tx, 1, b"gone", [b"a"])
    sandbox_store.delete(stock.tx, 1)
    sandbox_store.replace(stock.tx, 1, b"back")  # a cancel that comes too late
    assert (sandbox_store.load(stock.tx), sandbox_store.page(stock.tx, 1, 0)) == (([], 1), None)
    assert not sandbox_store.add(stock.tx, 1, b"again", [b"b"])
