"""Uploads on disk: each in the folder of the session that sent it, under an id of ours, within quotas.

Nothing that a client sends becomes part of a path. A job gets at an upload by its id only, from the same session, and what is
opened must be the very file that was written: regular, no link, the same inode.

Where uploads are to outlive the server, a record lies beside each (its id and `.json`) once it is known what the video is. The
folder is the server's alone (0700); what has no record, or is not as its record says, is removed at the start.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from sonomask.server.limits import ServerLimits
from sonomask.server.problems import BusyError, RefusedError, TooLargeError, UnknownError
from sonomask.workspace import atomic_path

__all__ = ["Upload", "UploadStore", "check_file"]

FILES_CLIENT, FILES = 200, 5000  # uploads of a client, and of all
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
RECORD = ".json"  # no id has a dot
PLAIN = ("session", "client", "name", "size", "facts")
NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a pipe would wait for its other end

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Upload:
    """A video that a client sent.

    Attributes:
        id: Opaque and not to be guessed.
        session: Session that it belongs to; None for a program without cookies, which needs only its id.
        client: Address that its bytes count for.
        name: The sender's name for it, for people to read; never part of a path.
        path: Path of the file. Has no suffix: the content tells what it is.
        size: Bytes so far.
        facts: Facts about the video, once it has been examined.
        users: Jobs that read it; it is removed when the last one has ended.
        removed: Whether it is to be removed then.
    """

    id: str
    session: str | None
    client: str
    name: str
    path: Path
    size: int = 0
    added: float = field(default_factory=time.monotonic)
    facts: dict[str, Any] = field(default_factory=dict)
    inode: tuple[int, int] = (0, 0)
    ready: bool = False
    users: int = 0
    removed: bool = False

    @property
    def record(self) -> Path:
        """Path of the upload's record, which is written if uploads are kept over a restart."""
        return self.path.with_name(self.id + RECORD)


class UploadStore:
    """Takes uploads and gives them back by id.

    Args:
        folder: Exists, and belongs to this server alone.
        limits: Quotas.
        keeps: Whether uploads outlive the server, and those that lie there are taken up.
    """

    def __init__(self, folder: Path, limits: ServerLimits, *, keeps: bool = False) -> None:
        self.folder, self.limits, self.keeps = folder, limits, keeps
        self.uploads: dict[str, Upload] = {upload.id: upload for upload in recall(folder)} if keeps else {}
        self.lock = threading.RLock()

    @contextmanager
    def receive(
        self, name: str, *, session: str | None, client: str
    ) -> Iterator[tuple[Upload, Callable[[bytes], None]]]:
        """A new upload and the function that writes its next bytes. Whatever ends the block early removes it.

        Raises:
            TooLargeError: The upload, or all uploads of the client, are larger than the limit.
            BusyError: The disk is full, or all uploads together are larger than the limit.
        """
        upload, file = self._begin(name, session, client)
        try:
            with file:

                def write(chunk: bytes) -> None:
                    self._grow(upload, len(chunk))
                    try:
                        file.write(chunk)
                    except OSError as error:
                        raise BusyError("The server's disk is full. Try again later.") from error

                yield upload, write
                file.flush()
                facts = os.fstat(file.fileno())
            upload.inode, upload.size, upload.ready = (facts.st_dev, facts.st_ino), facts.st_size, True
        finally:
            if not upload.ready:
                self.remove(upload)

    def know(self, upload: Upload, facts: dict[str, Any]) -> None:
        """Store the facts about an upload's video. From now on the upload is kept, if uploads are."""
        upload.facts = facts
        with self.lock:
            if self.keeps and not upload.removed:
                _note(upload)

    def _begin(self, name: str, session: str | None, client: str) -> tuple[Upload, IO[bytes]]:
        own = hashlib.sha256((session or "").encode()).hexdigest()[:32] if session else "programs"
        upload_id = secrets.token_urlsafe(16)
        path = self.folder / own / upload_id
        with self.lock:
            self._make_room(client, 0, files=1)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o600)
            upload = Upload(upload_id, session, client, clean_name(name), path)
            self.uploads[upload_id] = upload
        return upload, os.fdopen(handle, "wb")

    def _grow(self, upload: Upload, count: int) -> None:
        """Reserve bytes before they are written."""
        if upload.size + count > self.limits.bytes:
            raise TooLargeError(f"The video has more than {self.limits.bytes / 2**20:.0f} MB, the limit. Cut it first.")
        with self.lock:
            self._make_room(upload.client, count)
            upload.size += count

    def _make_room(self, client: str, count: int, files: int = 0) -> None:
        """Remove the client's own oldest idle uploads until so many bytes fit, or say that they do not."""
        limits = self.limits
        own = [upload for upload in self.uploads.values() if upload.client == client]
        used = sum(upload.size for upload in own)
        idle = [upload for upload in own if upload.ready and not upload.users]
        while idle and (used + count > limits.uploads_client or len(own) + files > FILES_CLIENT):
            oldest = idle.pop(0)
            used -= oldest.size
            own.remove(oldest)
            self.remove(oldest)
        if used + count > limits.uploads_client or len(own) + files > FILES_CLIENT:
            raise TooLargeError(
                f"Your uploads have more than {limits.uploads_client / 2**30:.2g} GiB, the limit. Delete some first."
            )
        everything = sum(upload.size for upload in self.uploads.values())
        if everything + count > limits.uploads or len(self.uploads) + files > FILES:
            raise BusyError("The server's room for uploads is used up. Try again later.")
        if shutil.disk_usage(self.folder).free < limits.spare + count:
            raise BusyError("The server's disk is full. Try again later.")

    def find(self, upload_id: str, session: str | None) -> Upload:
        """The upload of that id, which this session must have sent.

        Raises:
            UnknownError: There is none, or it is another session's.
        """
        upload = self.uploads.get(upload_id)
        if upload is None or upload.session != session or upload.removed or not upload.ready:
            raise UnknownError("There is no such upload, or no longer. Send the video again.", "upload")
        return upload

    def take(self, upload: Upload) -> Path:
        """Use an upload; it stays until `give_back`.

        Raises:
            UnknownError: It was removed meanwhile.
            RefusedError: The file is not the one that was written.
        """
        with self.lock:
            if upload.removed:
                raise UnknownError("There is no such upload, or no longer. Send the video again.", "upload")
            check_file(upload.path, upload.inode)
            upload.users += 1
        return upload.path

    def give_back(self, upload: Upload) -> None:
        """A job has ended."""
        with self.lock:
            upload.users -= 1
            if upload.removed and upload.users <= 0:
                self.remove(upload)

    def remove(self, upload: Upload) -> None:
        """Remove an upload; its file is deleted now, or when the last job that reads it has ended."""
        with self.lock:
            upload.removed = True
            upload.record.unlink(missing_ok=True)
            if upload.users <= 0:
                upload.path.unlink(missing_ok=True)
                self.uploads.pop(upload.id, None)

    def sweep(self, now: float) -> None:
        """Remove what has been kept long enough."""
        for upload in list(self.uploads.values()):
            if upload.ready and now > upload.added + self.limits.keep:
                self.remove(upload)


def _note(upload: Upload) -> None:
    """Record an upload; if that fails, the log says that it won't survive a restart."""
    kept = {name: getattr(upload, name) for name in PLAIN}
    record = kept | {"added": time.time() - (time.monotonic() - upload.added)}
    try:
        with atomic_path(upload.record) as path:
            path.write_text(json.dumps(record), encoding="utf-8")
    except OSError as error:
        logger.error("upload %s can't be kept: %s", upload.id, error)


def recall(folder: Path) -> Iterator[Upload]:
    """The uploads that lie in a folder, the oldest first; whatever else lies there is removed."""
    found = []
    for own in folder.iterdir():
        for record in list(own.glob(f"*{RECORD}")) if own.is_dir() and not own.is_symlink() else ():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found.append(_read(record))
    known = {path for upload in found for path in (upload.path, upload.record)}
    for path in folder.glob("**/*"):
        if path not in known and (path.is_symlink() or not path.is_dir()):
            path.unlink(missing_ok=True)
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # not empty
            path.rmdir()
    yield from sorted(found, key=lambda upload: upload.added)


def _read(record: Path) -> Upload:
    told: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    path = record.with_suffix("")
    facts = path.lstat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_size != told["size"] or not isinstance(told["facts"], dict):
        raise ValueError(f"{path}: is not as it was written.")
    upload = Upload(path.name, path=path, **{name: told[name] for name in PLAIN})
    upload.added = time.monotonic() - max(0.0, time.time() - float(told["added"]))
    upload.inode, upload.ready = (facts.st_dev, facts.st_ino), True
    return upload


def check_file(path: Path, inode: tuple[int, int]) -> None:
    """Make sure that a path is that regular file, and neither a link nor anything else.

    Raises:
        RefusedError: It is not.
    """
    try:
        handle = os.open(path, os.O_RDONLY | NO_LINK | NO_WAIT)
    except OSError as error:
        raise RefusedError("The upload can't be opened. Send the video again.") from error
    try:
        facts = os.fstat(handle)
    finally:
        os.close(handle)
    if not stat.S_ISREG(facts.st_mode) or (facts.st_dev, facts.st_ino) != inode:
        raise RefusedError("The upload is not the file that was sent. Send the video again.")


def clean_name(name: str) -> str:
    """A name for people: the last part of a path, without what can't be shown, not too long."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(letter for letter in last if letter.isprintable()).strip()
    return shown[:80] or "video"
