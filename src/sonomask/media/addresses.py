"""Files from addresses that a stranger gave, as on a web page: of the public internet only, and of bounded size.

Each host is looked up once, every address it has must be public, and the connection goes to the address that was looked at;
so neither a redirection nor a name that changes its mind leads to this machine or to its network.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from sonomask.errors import MediaError
from sonomask.workspace import atomic_path

__all__ = ["check_public", "fetch_public"]

REDIRECTIONS = 5
PORTS = {"http": 80, "https": 443}
BLOCK = 2**16


def check_public(address: str) -> str:
    """An IP address of the host of an http(s) address.

    Raises:
        MediaError: It is no such address, the host is not known, or any of its addresses is not a public one: loopback,
            private, link-local, multicast, reserved or mapped onto one of them.
    """
    parts = _split(address)
    try:
        found = socket.getaddrinfo(parts.hostname, _port(parts), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise MediaError(f"{address}: its host can't be found. Check the address.") from error
    numbers = [str(entry[4][0]) for entry in found]
    if not numbers or not all(_public(number) for number in numbers):
        raise MediaError(f"{address}: leads into a private network, which is not open to others. Upload the file.")
    return numbers[0]


def fetch_public(address: str, target: str | Path, *, most: int = 2**30, seconds: float = 300.0) -> Path:
    """Download a file of the public internet; it appears when it is whole.

    Args:
        address: http or https.
        target: Name of the file.
        most: Bytes that are taken.
        seconds: That it may take in all.

    Raises:
        MediaError: The address is not public, can't be read, or the file is too large or too slow.
    """
    due = time.monotonic() + seconds
    with atomic_path(target) as fresh:
        for _ in range(REDIRECTIONS):
            number, parts = check_public(address), _split(address)
            try:
                following = _download(parts, number, fresh, most, due)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise MediaError(f"{address}: can't be fetched ({error}). Upload the file.") from error
            if following is None:
                break
            address = urljoin(address, following)
        else:
            raise MediaError(f"{address}: more than {REDIRECTIONS} redirections. Give the address of the file itself.")
    return Path(target)


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        fine = parts.scheme in PORTS and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        fine = False
    if not fine or any(ord(letter) <= 32 or ord(letter) == 127 for letter in address):
        raise MediaError(f"{address[:200]!r}: expected an http or https address of a file.")
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or PORTS[parts.scheme]


def _public(number: str) -> bool:
    try:
        address: Any = ipaddress.ip_address(number.split("%")[0])
    except ValueError:
        return False
    inner = [getattr(address, name, None) for name in ("ipv4_mapped", "sixtofour")]
    every = [address, *(i for i in inner if i is not None), *(getattr(address, "teredo", None) or ())]
    return all(a.is_global and not a.is_multicast and not a.is_reserved for a in every)


class _Pinned(http.client.HTTPConnection):
    """A connection to the IP address that was checked, whatever its name says by now."""

    def __init__(self, parts: SplitResult, number: str, timeout: float) -> None:
        super().__init__(str(parts.hostname), _port(parts), timeout=timeout)
        self.number, self.secure = number, parts.scheme == "https"

    def connect(self) -> None:
        """Open it."""
        self.sock = socket.create_connection((self.number, self.port), self.timeout)
        if self.secure:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def _download(parts: SplitResult, number: str, target: Path, most: int, due: float) -> str | None:
    """Write the file; gives where to go instead, if the server says so."""
    connection = _Pinned(parts, number, timeout=min(30.0, max(0.1, due - time.monotonic())))
    try:
        path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        connection.request("GET", path, headers={"User-Agent": "sonomask", "Accept-Encoding": "identity"})
        answer = connection.getresponse()
        if answer.status in (301, 302, 303, 307, 308) and (following := answer.getheader("Location")):
            return following
        if answer.status != 200:
            raise ValueError(f"the server says {answer.status} {answer.reason}")
        done = 0
        with target.open("wb") as file:
            while block := answer.read(BLOCK):
                done += len(block)
                if done > most:
                    raise ValueError(f"larger than {most} bytes")
                if time.monotonic() > due:
                    raise ValueError("too slow")
                file.write(block)
        return None
    finally:
        connection.close()
