"""Puts pages, REST service and guard together and runs them."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from sonomask.errors import WeightsError
from sonomask.inference.loading import is_open
from sonomask.media.sandbox.confine import sandbox_strength
from sonomask.monitoring import served
from sonomask.server import rest
from sonomask.server.guard import LOCAL, Access, Guard
from sonomask.server.jobs import Runner
from sonomask.server.limits import ServerLimits
from sonomask.server.patience import patient
from sonomask.server.site import add_pages
from sonomask.server.work import Segment
from sonomask.structures import ModelConfig
from sonomask.workspace import lock, workspace

__all__ = ["ListenOptions", "application", "bind", "is_loopback", "link", "serve"]

GRACEFUL = 2  # seconds that answers under way have to end
AT_MOST = 9.5  # seconds from a signal to the end, whatever hangs
SHORTEST_TOKEN = 16
UNSAFE = (
    "Videos are decoded without a full sandbox on this system (Landlock of Linux 5.13 or later, or seccomp, is missing): a "
    "video made for that purpose could take over the server."
)


@dataclass(frozen=True)
class ListenOptions:
    """Address and access rules of the server.

    Attributes:
        host: Address to listen at.
        port: Port; 0 for a free one.
        token: Token that each request must carry; None makes a random one for addresses other than loopback.
        allowed_hosts: Names under which it is reached besides its address, such as that of a proxy.
        root_path: Path under which a proxy shows it.
        proxies: Addresses of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
        unsafe_decoding: Whether to serve other addresses than loopback where the decoder's sandbox is missing.
        folder: Folder in which videos and results are kept over a restart; None to remove them at the end.
    """

    host: str = LOCAL[1]
    port: int = 7860
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    root_path: str = ""
    proxies: tuple[str, ...] = ()
    unsafe_decoding: bool = False
    folder: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ValueError(f"`port`: expected 0 to 65535, got {self.port}.")
        if self.token is not None and (
            len(self.token) < SHORTEST_TOKEN or not self.token.isascii() or " " in self.token
        ):
            raise ValueError(f"`token`: expected {SHORTEST_TOKEN} letters, digits or signs or more, without spaces.")
        if self.root_path and not (self.root_path.startswith("/") and self.root_path.strip("/")):
            raise ValueError(f"`root_path`: expected a path such as /sonomask, got {self.root_path!r}.")
        for host in self.allowed_hosts:
            if "/" in host or "*" in host or not host:
                raise ValueError(f"`allowed_hosts`: expected names such as media.example.org, got {host!r}.")

    @property
    def private(self) -> bool:
        """Whether only this machine can reach it, and no proxy exposes it."""
        return is_loopback(self.host) and not self.allowed_hosts

    @property
    def everywhere(self) -> bool:
        """Whether it listens on all addresses of the machine."""
        return self.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound

    def access(self) -> Access:
        """Rules of access, with a new token if one is needed."""
        token = self.token or (None if is_loopback(self.host) else secrets.token_urlsafe(24))
        own = socket.gethostname() if self.everywhere else self.host
        return Access((*LOCAL, own, *self.allowed_hosts), self.everywhere, token, self.allowed_hosts,
                      self.root_path.rstrip("/"))  # fmt: skip


def is_loopback(host: str) -> bool:
    """Whether an address belongs to this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def sandboxed() -> bool:
    """Whether the decoder's child process can be kept from files, connections and other processes here."""
    return not sandbox_strength().missing


def application(
    runner: Runner,
    models: Mapping[str, str],
    access: Access | None = None,
    *,
    things: Mapping[str, Sequence[str]] | None = None,
    prompts: Collection[str] = (),
) -> Guard:
    """The whole as an ASGI application.

    Args:
        runner: Does the jobs.
        models: Description of each offered model in one line.
        access: Rules of access; by default anyone on this machine.
        things: Names that each model knows.
        prompts: Names of the models that take free words.
    """
    service = rest.Service(runner, models, things or {}, prompts, warnings=() if sandboxed() else (UNSAFE,))
    app = rest.build(service)
    add_pages(app)
    return Guard(app, access, runner.limits, ending=service.ending)


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        ValueError: There is no such address, or it is taken.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(f"Can't listen at {host}, port {port} ({reason}). Give another --host or --port.") from error
    made.listen(128)
    return made


class _Server(uvicorn.Server):
    """A uvicorn server that closes its event streams at once when it is told to end, and ends in any case."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came."""
        if not self.should_exit:
            last = threading.Timer(AT_MOST, os._exit, [128 + sig])
            last.daemon = True
            last.start()
        app: Any = self.config.app
        app.ending.set()
        super().handle_exit(sig, frame)


def serve(
    models: Mapping[str, str],
    options: ListenOptions,
    *,
    device: str,
    limits: ServerLimits,
    announce: Callable[[str], None],
    metrics: str | None = None,
) -> None:
    """Serve until stopped; `announce` gets the address once the model is loaded, and what else should be known.

    Args:
        models: Argument of `load` for each offered name.
        options: Address to listen at, and clients that are let in.
        device: "auto", "cpu", "cuda" or "mps".
        limits: Limits for clients.
        announce: Function called with each line for the person who starts the server.
        metrics: "[HOST:]PORT" at which Prometheus reads counts of jobs; None for nowhere.

    Raises:
        ValueError: There is no such model or device, the address is not free, or it is not safe to serve it.
    """
    if not sandboxed():
        if not options.private and not options.unsafe_decoding:
            raise ValueError(f"{UNSAFE} Serve 127.0.0.1 only, or give --unsafe-decoding.")
        announce(UNSAFE)
    access = options.access()
    with bind(options.host, options.port) as listening:
        work = Segment(models, device)
        work.model(next(iter(models)))  # the first visitor need not wait
        configs = {name: config_of(work, name) for name in models}  # a wrong name is told now
        abouts = {name: about(config) for name, config in configs.items()}
        things = {name: config.things for name, config in configs.items()}
        prompts = [name for name, source in models.items() if is_open(source)]
        with (
            _folder(options.folder) as folder,
            Runner(work, folder, limits, keeps=options.folder is not None) as runner,
            served(runner.figures(), metrics, "serve"),
        ):
            app = application(runner, abouts, access, things=things, prompts=prompts)
            announce(link(options, listening.getsockname()[1], access.token))
            config = uvicorn.Config(
                app, http=patient(limits, options.proxies), ws="none", log_level="critical", server_header=False,
                timeout_graceful_shutdown=GRACEFUL, proxy_headers=bool(options.proxies),
                forwarded_allow_ips=list(options.proxies),
            )  # fmt: skip
            _Server(config).run(sockets=[listening])


def config_of(work: Segment, name: str) -> ModelConfig:
    """A model's config; its weights are not read for that where it is a folder."""
    from sonomask.checkpoints.places import CONFIG, find
    from sonomask.safe_reading.config import read_config

    try:
        return read_config(find(work.models[name]) / CONFIG)
    except WeightsError:  # a network without weights, an ONNX file; or a wrong name, which loading tells
        config: ModelConfig = work.model(name).config
        return config


def about(config: ModelConfig) -> str:
    """Description of a model in one line, with the licence of its weights if that is known."""
    text, most = " ".join(config.about.split()), 160
    while len(text) > most and ". " in text:
        text = text.rpartition(". ")[0]
    told = f"{text.rstrip('.')}." if text else f"A model of the kind {config.name}."
    return f"{told} Licence of the weights: {' '.join(config.licence.split())}." if config.licence else told


def link(options: ListenOptions, port: int, token: str | None) -> str:
    """The address to open in a browser."""
    host = socket.gethostname() if options.everywhere else options.host
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/{'' if token is None else f'?token={token}'}"


@contextlib.contextmanager
def _folder(kept: Path | None = None) -> Iterator[Path]:
    """A folder of this server alone, in one of this user's; what servers left that were killed is swept.

    Args:
        kept: The folder to take instead; it stays.

    Raises:
        ValueError: Another server has that one, or it can't be written to.
    """
    if kept is not None:
        with _kept_folder(kept) as folder:
            yield folder
        return
    parent = _own_folder()
    try:
        with workspace(parent / "server") as folder:
            inner = folder / "files"
            inner.mkdir(mode=0o700)
            yield inner
    finally:
        with contextlib.suppress(OSError):
            parent.rmdir()


@contextlib.contextmanager
def _kept_folder(folder: Path) -> Iterator[Path]:
    """A folder with a lock in it, so that two servers don't share it."""
    inner = folder / "sonomask-server"
    try:
        inner.mkdir(mode=0o700, parents=True, exist_ok=True)
        inner.chmod(0o700)
        file = (inner / "lock").open("w", encoding="utf-8")
    except OSError as error:
        raise ValueError(f"`folder`: {folder} can't be used ({error.strerror}). Give another one.") from error
    with file:
        if lock(file) is False:
            raise ValueError(f"`folder`: another server uses {folder}. Stop that one, or give another folder.")
        yield inner


def _own_folder() -> Path:
    """A folder that nobody else can write to; another's of that name is not used."""
    if not hasattr(os, "getuid"):
        return Path(tempfile.gettempdir()) / "sonomask-server"
    path = Path(tempfile.gettempdir()) / f"sonomask-server-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    facts = path.lstat()
    if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077:
        return path
    return Path(tempfile.mkdtemp(prefix="sonomask-server-"))
