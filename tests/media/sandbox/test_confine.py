"""A decoder that somebody has taken over: a child, confined as a decoder is, that tries what it should not be able to do."""

import json
import os
import socket
import subprocess
import sys

import pytest

from sonomask.media.sandbox.confine import sandbox_strength

pytestmark = pytest.mark.skipif(
    bool(sandbox_strength().missing), reason=f"this machine does not keep a decoder from {sandbox_strength().missing}"
)
MUST_FAIL = {
    "write a file": "open(source + '.new', 'w')",
    "overwrite its source": "open(source, 'r+')",
    "cut its source": "os.truncate(source, 0)",
    "read another file": "open(other).read()",
    "read Python's folders": "open(json.__file__).read()",
    "list Python's folders": "os.listdir(os.path.dirname(json.__file__))",
    "list the root": "os.listdir('/')",
    "read the parent's environment": "open(f'/proc/{parent}/environ').read()",
    "read the parent's memory": "os.open(f'/proc/{parent}/mem', os.O_RDONLY)",
    "read its own memory as a file": "os.open('/proc/self/mem', os.O_RDONLY)",
    "delete its source": "os.remove(source)",
    "rename its source": "os.rename(source, source + '.moved')",
    "make a link": "os.link(source, source + '.link')",
    "make a symbolic link": "os.symlink('/etc/passwd', source + '.soft')",
    "make a folder": "os.mkdir(source + '.folder')",
    "change rights": "os.chmod(source, 0o777)",
    "change an open file's rights": "os.fchmod(handle, 0o777)",
    "change an owner": "os.chown(source, 1, 1)",
    "change times": "os.utime(source, (1, 1))",
    "set an attribute": "os.setxattr(source, 'user.a', b'b')",
    "start a program": "os.execv('/bin/true', ['true'])",
    "run a program": "subprocess.run(['/bin/true'])",
    "fork": "os.fork()",
    "fork by its number": "call(SYS['fork'])",
    "clone a process": "call(SYS['clone'], 17, 0, 0, 0, 0)",
    "clone a process, newer": "call(SYS['clone3'], 0, 0)",
    "a TCP connection": "socket.create_connection(('127.0.0.1', port), 2)",
    "a UDP socket": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "a unix socket": "socket.socket(socket.AF_UNIX).connect(unix)",
    "a pair of sockets": "socket.socketpair()",
    "a raw netlink socket": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "end another process": "os.kill(victim, 15)",
    "end its group": "os.killpg(os.getpgid(victim), 15)",
    "end a thread of another": "call(SYS['tgkill'], victim, victim, 9)",
    "hold a process by a descriptor": "os.pidfd_open(victim)",
    "get another's signals": "fcntl.fcntl(handle, 8, victim)",  # F_SETOWN
    "trace another": "call(SYS['ptrace'], 16, victim, 0, 0)",
    "read another's memory": "call(SYS['process_vm_readv'], victim, 0, 0, 0, 0, 0)",
    "change another's limits": "resource.prlimit(victim, resource.RLIMIT_CPU, (1, 1))",
    "raise its own limits": "resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))",
    "slow another down": "os.setpriority(os.PRIO_PROCESS, victim, 19)",
    "pin another": "os.sched_setaffinity(victim, {0})",
    "become another user": "os.setuid(12345)",
    "new namespaces": "call(SYS['unshare'], 0x10000000)",
    "mount": "call(SYS['mount'], b'none', b'/tmp', b'tmpfs', 0, 0)",
    "a file in memory, to start from": "os.memfd_create('a')",
    "io_uring": "call(SYS['io_uring_setup'], 8, 0)",
    "a program in the kernel": "call(SYS['bpf'], 0, 0, 0)",
    "keys": "call(SYS['keyctl'], 0, -3, 0)",
    "shared memory": "call(SYS['shmget'], 1, 4096, 0o1777)",
    "type into a terminal": "fcntl.ioctl(0, 0x5412, b'x')",  # TIOCSTI
    "watch files": "call(SYS['inotify_init1'], 0)",
    "a call that does not exist yet": "call(999)",
}
MUST_WORK = {
    "read its source": "open(source).read()",
    "threads": "thread = threading.Thread(target=time.sleep, args=(0.01,)); thread.start(); thread.join()",
    "memory": "bytes(2**26)",
    "clocks and chance": "time.sleep(0.01); time.monotonic(); os.urandom(8)",
    "see its parent": "os.getppid()",
}
CHILD = """
import ctypes, fcntl, json, os, resource, socket, subprocess, sys, threading, time
sys.path[:] = json.loads(sys.argv[1])
globals().update(json.loads(sys.argv[2]))
from sonomask.media.sandbox.child import import_all
from sonomask.media.sandbox.confine import confine, leave_network
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *words):
    if libc.syscall(number, *words) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
handle = os.open(source, os.O_RDONLY)
leave_network()
import_all()
confine(source, memory=2**32)
for name, code in attempts.items():
    try:
        exec(code)
        end = "done"
    except BaseException as error:
        end = f"{type(error).__name__}: {error}"
    print(json.dumps([name, end]), flush=True)
"""
NUMBERS = {  # on x86-64 and ARM64
    "fork": (57, 220), "clone": (56, 220), "clone3": (435, 435), "tgkill": (234, 131), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "unshare": (272, 97), "mount": (165, 40), "io_uring_setup": (425, 425),
    "bpf": (321, 280), "keyctl": (250, 219), "shmget": (29, 194), "inotify_init1": (294, 26),
}  # fmt: skip


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """What came of each attempt."""
    folder = tmp_path_factory.mktemp("cage")
    (folder / "video.mp4").write_text("video")
    (folder / "secret.txt").write_text("secret")
    column = ["x86_64", "aarch64"].index(os.uname().machine)
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(folder / "s"))
        unix.listen()
        victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
        given = {
            "source": str(folder / "video.mp4"), "other": str(folder / "secret.txt"), "unix": str(folder / "s"),
            "port": tcp.getsockname()[1], "victim": victim.pid, "parent": os.getpid(),
            "SYS": {name: numbers[column] for name, numbers in NUMBERS.items()},
            "attempts": MUST_FAIL | MUST_WORK,
        }  # fmt: skip
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-c", CHILD, json.dumps(sys.path), json.dumps(given)],
                check=False, capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            assert victim.poll() is None
        finally:
            victim.kill()
            victim.wait()
    assert (folder / "video.mp4").read_text() == "video"
    assert sorted(path.name for path in folder.iterdir()) == ["s", "secret.txt", "video.mp4"]
    assert (folder / "video.mp4").stat().st_mode & 0o777 != 0o777
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, _ in lines] == list(given["attempts"])  # each once: nobody forked
    return dict(lines)


@pytest.mark.parametrize("attempt", MUST_FAIL)
def test_who_takes_over_the_decoder_cannot(attempt, ends):
    end = ends[attempt]
    refused = ("PermissionError", "Operation not permitted", "not implemented", "not allowed", "Permission denied")
    assert any(word in end for word in refused), end


@pytest.mark.parametrize("attempt", MUST_WORK)
def test_a_decoder_still_can(attempt, ends):
    assert ends[attempt] == "done"


def test_the_filter_is_one_of_what_is_allowed():
    from sonomask.media.sandbox import syscalls

    with_network, without = (syscalls._program("x86_64", network=network) for network in (True, False))
    assert len(with_network) > len(without)
    assert without[-8:] == with_network[-8:]  # the last word refuses whatever is not named
    assert max(len(with_network), len(syscalls._program("aarch64", network=True))) // 8 < 256  # jumps reach 255 words
