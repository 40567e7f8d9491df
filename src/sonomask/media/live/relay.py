"""FFmpeg's own program between an address and this one, for what the FFmpeg within PyAV lacks: its wheels have no SRT.

The program hands on bytes as they are, so it neither delays nor changes them.
"""

from __future__ import annotations

import io
import os
import select
import shutil
import subprocess
import sys

__all__ = ["DescriptorReader", "Receiver", "Sender"]

FAREWELL = 5.0  # seconds in which a server takes the last bytes


def _program(address: str) -> str:
    program = shutil.which("ffmpeg")
    if program is None:
        raise OSError(
            f"the FFmpeg in this PyAV knows no {address.partition(':')[0]}, and there is no program ffmpeg in the path; "
            "install it"
        )
    return program


class DescriptorReader(io.RawIOBase):
    """Bytes of a file descriptor as they come; one that is silent for too long counts as broken.

    Args:
        number: File descriptor.
        timeout: Seconds of silence.
    """

    def __init__(self, number: int, timeout: float) -> None:
        self.number, self.timeout = number, timeout

    def readable(self) -> bool:
        """Return true."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, at least one; none at the end.

        Raises:
            TimeoutError: None came in time.
        """
        if sys.platform != "win32" and not select.select([self.number], [], [], self.timeout)[0]:
            raise TimeoutError(f"no data for {self.timeout:g} s")
        return os.read(self.number, 1 << 16 if size < 0 else size)


class Receiver(DescriptorReader):
    """Bytes from an address as they come; use `close` at the end.

    Args:
        address: Address of the other side.
        timeout: Seconds of silence after which it counts as broken.

    Raises:
        OSError: There is no program.
    """

    def __init__(self, address: str, timeout: float) -> None:
        scheme = address.partition(":")[0].lower()
        self.process = subprocess.Popen(  # noqa: S603 - the address has a scheme, so it is no option
            [_program(address), "-v", "error", "-nostdin", "-protocol_whitelist", f"{scheme},udp,crypto,data",
             "-fflags", "nobuffer", "-f", "data", "-i", address, "-map", "0", "-c", "copy", "-f", "data", "-flush_packets", "1",
             "pipe:1"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None  # noqa: S101 - for mypy
        super().__init__(self.process.stdout.fileno(), timeout)

    def close(self) -> None:
        """End the program."""
        if not self.closed:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
        super().close()


class Sender(io.RawIOBase):
    """Takes bytes for an address; use `close` at the end.

    Args:
        address: Address of the other side.

    Raises:
        OSError: There is no program.
    """

    def __init__(self, address: str) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - as above
            [_program(address), "-v", "error", "-f", "data", "-i", "pipe:0", "-map", "0", "-c", "copy", "-f", "data",
             "-flush_packets", "0", address],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, bufsize=0,
        )  # fmt: skip

    def writable(self) -> bool:
        """Return true."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Hand on all of it.

        Raises:
            OSError: The server does not take it.
        """
        assert self.process.stdin is not None  # noqa: S101 - for mypy
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view) :]
        return len(data)

    def close(self) -> None:
        """Let the program send what it has, and end it."""
        if not self.closed:
            assert self.process.stdin is not None  # noqa: S101 - for mypy
            try:
                self.process.stdin.close()
                self.process.wait(FAREWELL)
            except (OSError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait()
        super().close()
