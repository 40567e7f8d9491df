"""Uploads: whose they are, what may be opened, how much there may be."""

import os

import pytest

from sonomask.server import store as room
from sonomask.server.limits import ServerLimits
from sonomask.server.problems import BusyError, RefusedError, TooLargeError, UnknownError
from sonomask.server.store import UploadStore


@pytest.fixture
def store(tmp_path):
    return UploadStore(tmp_path, ServerLimits(bytes=100, uploads_client=250, uploads=400))


def put(store, data=b"0123456789", *, session="one", client="a", name="clip.mp4"):
    with store.receive(name, session=session, client=client) as (upload, write):
        write(data)
    return upload


def test_an_upload_is_found_by_the_session_that_sent_it_and_by_no_other(store):
    upload = put(store)
    assert store.find(upload.id, "one") is upload
    for other in ("two", None):
        with pytest.raises(UnknownError, match="no such upload"):
            store.find(upload.id, other)


def test_no_path_is_an_id(store):
    put(store)
    for path in ("/etc/passwd", "../../etc/passwd", "/dev/zero", "/proc/self/fd/0", "", "."):
        with pytest.raises(UnknownError):
            store.find(path, "one")


def test_a_name_is_for_people_and_never_part_of_a_path(store):
    upload = put(store, name="../../etc/pass\nwd", session="../../x")
    assert upload.name == "passwd"
    assert upload.path.resolve().is_relative_to(store.folder.resolve())
    assert len(upload.path.relative_to(store.folder).parts) == 2


@pytest.mark.parametrize("kind", ["link", "hard link to another", "pipe", "folder", "device"])
def test_only_the_file_that_was_written_is_opened(store, tmp_path, kind):
    upload, other = put(store), tmp_path / "secret"
    other.write_bytes(b"secret")
    upload.path.unlink()
    if kind == "link":
        upload.path.symlink_to(other)
    elif kind == "hard link to another":
        os.link(other, upload.path)
    elif kind == "pipe":
        os.mkfifo(upload.path)
    elif kind == "folder":
        upload.path.mkdir()
    else:
        upload.path.symlink_to("/dev/zero")
    with pytest.raises(RefusedError):
        store.take(upload)


def files(store):
    return [path for path in store.folder.rglob("*") if path.is_file()]


def test_what_breaks_off_leaves_nothing(store):
    def break_off():
        with store.receive("a", session="one", client="a") as (_, write):
            write(b"0123")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert files(store) == []
    assert store.uploads == {}


def test_an_upload_beyond_the_limit_is_refused_before_it_is_written(store):
    with store.receive("a", session=None, client="a") as (_, write):
        write(bytes(60))
        with pytest.raises(TooLargeError, match="the limit"):
            write(bytes(60))
    assert [path.stat().st_size for path in files(store)] == [60]


def test_a_client_s_oldest_idle_uploads_make_room_and_nobody_else_s(store):
    other = put(store, bytes(90), client="b")
    own = [put(store, bytes(90)) for _ in range(3)]
    assert [upload.path.exists() for upload in own] == [False, True, True]
    assert other.path.exists()


def test_uploads_in_use_make_no_room(store):
    for _ in range(2):
        store.take(put(store, bytes(90)))
    with pytest.raises(TooLargeError, match="Delete some first"):
        put(store, bytes(90))


def test_all_uploads_together_have_a_limit(store):
    for client in "abcd":
        put(store, bytes(95), client=client)
    with pytest.raises(BusyError, match="used up"):
        put(store, bytes(95), client="e")


def test_many_empty_uploads_have_a_limit_too(store, monkeypatch):
    monkeypatch.setattr(room, "FILES_CLIENT", 3)
    for _ in range(10):
        put(store, b"")
    assert len(store.uploads) == 3


def test_a_full_disk_is_told_and_frees_its_place(store, monkeypatch):
    class Full:
        free = 0

    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Full)
    with pytest.raises(BusyError, match="disk is full"):
        put(store)
    assert store.uploads == {}


def test_an_upload_in_use_goes_when_its_job_has_ended(store):
    upload = put(store)
    store.take(upload)
    store.remove(upload)
    assert upload.path.exists()
    with pytest.raises(UnknownError):
        store.find(upload.id, "one")
    store.give_back(upload)
    assert not upload.path.exists()
