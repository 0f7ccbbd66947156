"""What a child made by fork must not keep of its server: the lock, the port, sessions and connections of clients.

A child has every descriptor of its parent until it closes it. So whatever a handler forked would hold them for a server
that was killed: the next could not start, clients would wait for answers. Programs started by exec inherit nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet


class HasDescriptor(Protocol):
    """A file, a socket, a session."""

    def fileno(self) -> int: ...


_hidden: WeakSet[HasDescriptor] = WeakSet()


def hide_from_children(owner: HasDescriptor) -> None:
    """In children that are forked from here on, what `owner` has open leads nowhere. It may be closed at any time."""
    _hidden.add(owner)


def _let_go() -> None:
    # Put out of use instead of closed: the numbers stay taken, so that what later closes `owner` closes nothing else.
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for owner in list(_hidden):
        with suppress(Exception):  # closed already, each kind of owner says so in its own way
            os.dup2(nowhere, owner.fileno(), inheritable=False)
    os.close(nowhere)


os.register_at_fork(after_in_child=_let_go)
