"""Which videos a corpus has, and in which order."""

import io
import os
import tarfile

import corpus
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sonomask.batch.fetch import fetch
from sonomask.batch.ledger import in_slice
from sonomask.batch.sources import expand
from sonomask.batch.tables import parquet
from sonomask.errors import DatasetError, MediaError


def names(sources):
    return [job.video for job in expand([str(s) for s in sources])]


@pytest.fixture
def folder(tmp_path):
    for name in ("b.mp4", "a.mp4", "in/c.mkv", "in/notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_a_folder_gives_its_videos_sorted_and_a_glob_what_it_matches(folder):
    every = [str(folder / n) for n in ("a.mp4", "b.mp4", "in/c.mkv")]
    assert names([folder]) == every
    assert names([folder / "*.mp4"]) == every[:2]
    assert names([folder / "**/*.mkv"]) == every[2:]


def test_the_order_is_the_sources_and_each_video_comes_once(folder):
    assert names([folder / "b.mp4", folder / "*.mp4"]) == [str(folder / "b.mp4"), str(folder / "a.mp4")]


def test_a_list_may_have_comments_and_paths_beside_it(folder):
    (folder / "list.txt").write_text("# mine\n\nb.mp4\nhttps://x.org/v.mp4?key=1\nin/*.mkv\n")
    assert names([folder / "list.txt"]) == [
        str(folder / "b.mp4"),
        "https://x.org/v.mp4?key=1",
        str(folder / "in/c.mkv"),
    ]


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_a_table_is_read_by_the_name_of_its_column(kind, folder):
    path = folder / f"t.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"id": [1, 2], "url": ["s3://b/v.mp4", None]}), path)
    else:
        path.write_text("id,url\n1,s3://b/v.mp4\n2,\n".replace(",", "\t" if kind == "tsv" else ","))
    assert names([path]) == ["s3://b/v.mp4"]


def test_a_table_without_such_a_column_says_what_it_has(folder):
    (folder / "t.csv").write_text("id,where\n1,x\n")
    with pytest.raises(DatasetError, match="id, where"):
        expand([str(folder / "t.csv")])


def write_tar(path):
    with tarfile.open(path, "w") as archive:
        for name in ("0001.mp4", "0001.json", "d/0002.webm"):
            entry = tarfile.TarInfo(name)
            entry.size = len(name)
            archive.addfile(entry, io.BytesIO(name.encode()))


def test_a_tar_tells_where_its_videos_begin(folder):
    write_tar(folder / "s.tar")
    jobs = expand([str(folder / "s.tar")])
    assert [job.video for job in jobs] == [f"tar://{n}::{folder}/s.tar" for n in ("0001.mp4", "d/0002.webm")]
    data = (folder / "s.tar").read_bytes()
    assert [data[job.offset : job.offset + job.size] for job in jobs] == [b"0001.mp4", b"d/0002.webm"]


def test_an_object_store_is_searched_by_glob():
    with fsspec.open("memory://bucket/x/v.mp4", "wb") as file:
        file.write(b"v")
    assert names(["memory://bucket/x/*.mp4"]) == ["memory:///bucket/x/v.mp4"]


@pytest.mark.parametrize(
    ("source", "says"), [("none/*.mp4", "nothing matches"), ("none.csv", "can't be read"), ("a.tar", "can't")]
)
def test_a_source_that_is_not_there_is_told(source, says, tmp_path):
    with pytest.raises(DatasetError, match=says):
        expand([str(tmp_path / source)])


def test_a_list_of_lists_and_a_strange_protocol_are_refused(folder):
    (folder / "list.txt").write_text("other.csv\n")
    with pytest.raises(DatasetError, match="no lists"):
        expand([str(folder / "list.txt")])
    with pytest.raises(MediaError, match="expected a path"):
        expand(["simplecache::ssh://host/*.mp4"])


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX systems only")
def test_a_name_in_latin_1_is_a_name(folder):
    place = os.fsencode(folder) + b"/caf\xe9.mp4"
    with open(place, "wb") as file:  # noqa: PTH123 - a name of bytes
        file.write(b"v")
    found = {job.video: job for job in expand([str(folder)])}
    job = found[f"{folder}/caf\\xe9.mp4"]
    assert os.fsencode(job.file) == place
    assert sum(len(in_slice(list(found.values()), i, 2)) for i in range(2)) == len(found)
    with fetch(job, 10) as file:
        assert file.path.read_bytes() == b"v"
    parquet([{"video": job.video}], pa.schema([("video", pa.string())]))


def test_a_table_with_an_endless_cell_is_refused(folder):
    (folder / "t.csv").write_text("video\n" + "x" * 200_000)
    with pytest.raises(DatasetError, match="as a table"):
        expand([str(folder / "t.csv")])


def test_a_tar_of_heads_without_end_or_with_holes_is_refused(folder):
    link = tarfile.TarInfo("long")
    link.type, link.size = tarfile.GNUTYPE_LONGNAME, 4
    (folder / "long.tar").write_bytes(1000 * (link.tobuf(tarfile.GNU_FORMAT) + b"aaa\0".ljust(512, b"\0")))
    (folder / "holes.tar").write_bytes(corpus.sparse_tar("a.mp4", 2**40))
    for name in ("long.tar", "holes.tar"):
        with pytest.raises(DatasetError, match="tar of videos"):
            expand([str(folder / name)])
