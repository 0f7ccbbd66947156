"""Which file systems can be trusted with a lock and a database."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

#: What statfs(2) calls the file systems whose locks or shared memory do not reach across machines.
NETWORK_FILESYSTEMS = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x5346414F: "AFS",
    0x73757245: "Coda",
    0x564C: "NCP",
    0x00C36400: "Ceph",
    0x0BD00BD0: "Lustre",
}
_STATFS_BYTES = 256  # more than struct statfs has anywhere


def filesystem_magic(folder: Path) -> int | None:
    """The type of the file system that holds `folder`, as statfs(2) numbers it; None where there is no such number."""
    if sys.platform != "linux":
        return None
    answer = ctypes.create_string_buffer(_STATFS_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(folder), answer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(folder))
    # f_type is a long; the magic numbers are its low 32 bits.
    return int.from_bytes(answer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder) & 0xFFFF_FFFF


def network_filesystem(magic: int | None) -> str | None:
    """The name of the network file system, if it is one."""
    return NETWORK_FILESYSTEMS.get(magic) if magic is not None else None
