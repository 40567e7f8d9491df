"""Permanently drop this process's rights to memory, files and network, as far as the system supports it.

Linux: resource limits, a network of its own with nobody in it, Landlock (the one file that is named can be read, no other;
nothing can be written, made or started) and a filter of system calls (no sockets, no signals, no processes, no rights to
change). Other POSIX systems: resource limits. Windows: nothing. `sandbox_strength` tells what this machine has.
Source: landlock(7), unshare(2), setrlimit(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sonomask.media.sandbox.syscalls import filter_calls, filter_exists

__all__ = ["Strength", "confine", "landlock_version", "leave_network", "sandbox_strength"]

NEW_NETWORK, NEW_USER = 0x40000000, 0x10000000
NO_NEW_PRIVILEGES = 38
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
READ_FILE, READ_DIR = 1 << 2, 1 << 3
FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}  # by version of Landlock
TCP = 0b11  # to bind and to connect
OPEN_PATH = 0o10000000
RESOLVER = [
    "/etc",
    "/usr/share",
    "/usr/lib",
    "/lib",
    "/lib64",
    "/run/systemd/resolve",
]  # where libc finds names' addresses


class Strength(NamedTuple):
    """The protections that a sandbox gives against a decoder that has been taken over.

    Attributes:
        files: It can read no file but its source, and change none.
        calls: It can open no connection, signal no process, start none, and change nobody's rights.
        memory: Its memory and its computing are bounded.
    """

    files: bool
    calls: bool
    memory: bool

    @property
    def missing(self) -> str:
        """Description of the missing protections; "" if there are none."""
        words = {
            "files": "reading other files (Landlock, Linux 5.13)",
            "calls": "connections, signals and processes (seccomp, x86-64 or ARM64)",
            "memory": "use of memory",
        }
        return ", ".join(words[name] for name, there in self._asdict().items() if not there)


def sandbox_strength() -> Strength:
    """Determine which protections this machine's sandbox gives; a server for strangers should require all of them."""
    return Strength(landlock_version() > 0, filter_exists(), os.name == "posix")


def leave_network() -> bool:
    """Enter an empty network namespace and return whether that was possible; call it before any thread is started."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.unshare(NEW_NETWORK) == 0 or libc.unshare(NEW_USER | NEW_NETWORK) == 0


def confine(source: str | None, *, memory: int, cpu: int | None = None, network: bool = False) -> Strength:
    """Drop all rights that decoding does not need, and return the protections achieved. All modules must have been imported.

    Args:
        source: The file that may be read; None for an address, which needs the files of the resolver.
        memory: Bytes of address space.
        cpu: Seconds of computing.
        network: Whether connections may be opened.
    """
    _limit(memory, cpu)
    files = calls = False
    if sys.platform.startswith("linux"):
        files = _landlock(RESOLVER if source is None else [source], network=network)
        calls = filter_calls(network=network)
    return Strength(files, calls, os.name == "posix")


def _limit(memory: int, cpu: int | None) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    wanted = {"RLIMIT_AS": memory, "RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0, "RLIMIT_NOFILE": 64, "RLIMIT_CPU": cpu}
    for name, value in wanted.items():
        kind = getattr(resource, name, None)
        if kind is not None and value is not None:
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            with contextlib.suppress(ValueError, OSError):  # macOS knows some of them by name only
                resource.setrlimit(kind, (value, value))


def landlock_version() -> int:
    """Version of the kernel's Landlock; 0 without it."""
    if not sys.platform.startswith("linux"):
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)))


def _landlock(places: Iterable[str], *, network: bool) -> bool:
    """Whether the kernel supports it and agreed."""
    version = landlock_version()
    if not version:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    rights = FILE_RIGHTS[max(v for v in FILE_RIGHTS if v <= version)]
    rules = struct.pack("=QQ", rights, 0 if network else TCP)[: 16 if version >= 4 else 8]
    ruleset = libc.syscall(CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0)
    if ruleset < 0:
        return False
    for place in places:
        with contextlib.suppress(OSError):
            handle = os.open(place, OPEN_PATH | os.O_CLOEXEC)
            allowed = READ_FILE | (READ_DIR if Path(place).is_dir() else 0)
            libc.syscall(ADD_RULE, ruleset, 1, struct.pack("=Qi", allowed, handle), 0)
            os.close(handle)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    done = libc.syscall(RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return bool(done)
