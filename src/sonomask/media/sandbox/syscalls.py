"""A filter of system calls (seccomp): what a decoder asks of the kernel once its file is open, and nothing else.

The list is one of what is allowed, so that a call which a later kernel adds is refused. Refused calls fail with EPERM, as for
a program without rights; those of another architecture end the process. Threads may be made, processes not.
Source: seccomp(2), Documentation/userspace-api/seccomp_filter.rst, the kernel's syscall tables.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

__all__ = ["filter_calls", "filter_exists"]

SET_SECCOMP, NO_NEW_PRIVILEGES, GET_SECCOMP = 22, 38, 21
SECCOMP, FILTER_MODE, ALL_THREADS = {"x86_64": 317, "aarch64": 277}, 1, 1
ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, EQUAL, SET, RETURN = 0x20, 0x15, 0x45, 0x06  # BPF: load a word, jump if equal, jump if any bit is set, return
NUMBER, ARCHITECTURE, FIRST = 0, 4, 16  # places in the kernel's `seccomp_data`; arguments are 8 bytes each
CODES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32 = 0x40000000
THREAD = 0x10000  # CLONE_THREAD
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC if sys.platform.startswith("linux") else 0

CALLS: dict[str, tuple[int | None, int | None]] = {  # numbers on x86_64 and aarch64; None where there is none
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "stat": (4, None), "lstat": (6, None),
    "newfstatat": (262, 79), "statx": (332, 291), "poll": (7, None), "ppoll": (271, 73), "lseek": (8, 62),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "brk": (12, 214),
    "madvise": (28, 233), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "pread64": (17, 67), "readv": (19, 65), "writev": (20, 66),
    "sched_yield": (24, 124), "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "gettimeofday": (96, 169), "getpid": (39, 172), "gettid": (186, 178),
    "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177),
    "getrlimit": (97, 163), "getrusage": (98, 165), "uname": (63, 160), "sysinfo": (99, 179), "times": (100, 153),
    "futex": (202, 98), "set_robust_list": (273, 99), "rseq": (334, 293), "set_tid_address": (218, 96),
    "sched_getaffinity": (204, 123), "getcpu": (309, 168), "exit": (60, 93), "exit_group": (231, 94),
    "restart_syscall": (219, 128), "getrandom": (318, 278), "getdents64": (217, 61), "getcwd": (79, 17),
    "readlink": (89, None), "readlinkat": (267, 78), "access": (21, None), "faccessat": (269, 48),
    "faccessat2": (439, 439), "dup": (32, 23), "membarrier": (324, 283), "arch_prctl": (158, None),
}  # fmt: skip
OPEN: dict[str, tuple[int | None, int | None]] = {"open": (2, None), "openat": (257, 56)}  # for reading only
NETWORK: dict[str, tuple[int | None, int | None]] = {  # besides, where the source is an address
    "connect": (42, 203), "sendto": (44, 206), "recvfrom": (45, 207), "sendmsg": (46, 211), "recvmsg": (47, 212),
    "sendmmsg": (307, 269), "recvmmsg": (299, 243), "setsockopt": (54, 208), "getsockopt": (55, 209),
    "getsockname": (51, 204), "getpeername": (52, 205), "shutdown": (48, 210), "bind": (49, 200),
    "select": (23, None), "pselect6": (270, 72),
}  # fmt: skip
SOCKET, FAMILIES = (41, 198), (2, 10, 16)  # IPv4, IPv6, and netlink, by which libc asks for this machine's addresses
FCNTL, FCNTLS = (72, 25), (1, 2, 3, 4)  # flags of a descriptor; not who gets its signals
IOCTL, IOCTLS = (16, 29), (0x541B, 0x5421)  # how much can be read, and not to wait for it
CLONE, CLONE3 = (56, 220), (435, 435)
PRCTL = (157, 167)  # naming a thread; nothing else
PR_SET_NAME = 15


def _machine() -> str:
    """The architecture whose numbers hold here, or nothing."""
    known = sys.platform.startswith("linux") and ctypes.sizeof(ctypes.c_void_p) == 8
    return platform.machine() if known and platform.machine() in CODES else ""


def filter_exists() -> bool:
    """Whether this kernel supports filters and this machine's system call numbers are known."""
    if not _machine():
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    return libc.prctl(SET_SECCOMP, 2, None, 0, 0) == -1 and ctypes.get_errno() == errno.EFAULT


def filter_calls(*, network: bool = False) -> bool:
    """Permanently allow this process and its threads only the listed system calls; returns whether that worked.

    Args:
        network: Whether connections over IP may be opened; to programs on this machine, none may be in either case.
    """
    if not filter_exists():
        return False
    program = _program(_machine(), network=network)
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return bool(libc.syscall(SECCOMP[_machine()], FILTER_MODE, ALL_THREADS, head) == 0)


def _program(machine: str, *, network: bool) -> bytes:
    """The filter in the kernel's language."""
    column = list(CODES).index(machine)

    def word(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value & 0xFFFFFFFF)

    def only(number: int | None, *test: bytes) -> list[bytes]:
        """For one call, some words that end in a decision."""
        return [] if number is None else [word(EQUAL, number, 0, len(test)), *test]

    allow, refuse = word(RETURN, ALLOW), word(RETURN, ERROR | errno.EPERM)
    words = [
        word(LOAD, ARCHITECTURE), word(EQUAL, CODES[machine], 1, 0), word(RETURN, KILL),
        word(LOAD, NUMBER), word(SET, X32, 0, 1), word(RETURN, KILL),
    ]  # fmt: skip

    def one_of(number: int | None, argument: int, values: tuple[int, ...]) -> list[bytes]:
        """For one call, if an argument has one of some values."""
        tests = [word(EQUAL, value, len(values) - place, 0) for place, value in enumerate(values)]
        return only(number, word(LOAD, FIRST + 8 * argument), *tests, refuse, allow)

    for numbers in (*CALLS.values(), *(NETWORK.values() if network else ())):
        words += only(numbers[column], allow)
    if network:
        words += one_of(SOCKET[column], 0, FAMILIES)
        words += one_of(IOCTL[column], 1, IOCTLS)
    words += one_of(FCNTL[column], 1, FCNTLS)
    for place, (name, numbers) in enumerate(OPEN.items()):
        flags = word(LOAD, FIRST + 8 * (place + 1))
        assert name in ("open", "openat")[place]  # noqa: S101 - the flags are the second and the third argument
        words += only(numbers[column], flags, word(SET, WRITING, 1, 0), allow, refuse)
    words += only(CLONE[column], word(LOAD, FIRST), word(SET, THREAD, 0, 1), allow, refuse)
    words += only(
        CLONE3[column], word(RETURN, ERROR | errno.ENOSYS)
    )  # its flags lie in memory; libc then takes `clone`
    words += one_of(PRCTL[column], 0, (PR_SET_NAME,))
    return b"".join([*words, refuse])
