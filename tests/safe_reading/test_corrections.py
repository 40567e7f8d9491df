"""Files of corrections come from strangers: what is no such file is told in a line, and what is one comes back as it was."""

import json

import pytest

import sonomask
from sonomask.errors import MediaError
from sonomask.safe_reading import corrections as module
from sonomask.safe_reading.corrections import Correction, Corrections, VideoFacts, parse_corrections, read_corrections

TRAIL = ((0.1, 0.2, 0.3, 0.4, 0.5), (0.3, 0.2, 0.3, 0.45, 0.5))
ITEMS = (
    Correction("never", 3.2, 0.41, 0.63, name="dog", id=2, trail=TRAIL),
    Correction("only", 1.0, 0.5, 0.5, start=1.0, end=4.0),
    Correction("sounds", 1.0, 0.0, 1.0),
    Correction("silent", 1.0, 0.2, 0.3),
    Correction("nothing", start=0.0, end=2.5),
    Correction("other", start=3.0, end=4.0),
)
WHOLE = Corrections(
    ITEMS, VideoFacts("talk.mp4", 12.4, 640, 360), {"model": "world_duo.real", "weights": "0123456789ab"}
)


def parse(*rows, **more):
    values = {"schema": "sonomask.corrections/1", "corrections": list(rows), **more}
    return parse_corrections(json.dumps(values).encode(), source="x.json")


def test_a_file_comes_back_as_it_was(tmp_path, conforms):
    path = WHOLE.save(tmp_path / "talk.corrections.json")
    assert sonomask.read_corrections(path) == WHOLE
    conforms("corrections", json.loads(path.read_text(encoding="utf-8")))
    with pytest.raises(MediaError, match="exists"):
        WHOLE.save(path)


def test_a_file_written_by_hand_is_enough():
    found = parse({"kind": "nothing", "start": 1, "end": 2, "comment": "from another program"}, more={})
    assert found == Corrections((Correction("nothing", start=1.0, end=2.0),))


WRONG = [
    ({"kind": "always"}, "expected only, never"),
    ({}, "kind"),
    ({"kind": "never", "time": 1, "x": 0.5}, "`y`"),
    ({"kind": "never", "time": 1, "x": 1.5, "y": 0}, "`x`: expected a number from 0 to 1"),
    ({"kind": "never", "time": True, "x": 0, "y": 0}, "`time`"),
    ({"kind": "nothing", "start": 2, "end": 2}, "`end`: expected more than the start"),
    ({"kind": "nothing", "start": 2}, "`end`"),
    ({"kind": "only", "time": 1, "x": 0, "y": 0, "name": "n" * 201}, "`name`"),
    ({"kind": "only", "time": 1, "x": 0, "y": 0, "id": -1}, "`id`"),
    ({"kind": "only", "time": 1, "x": 0, "y": 0, "trail": "0"}, "`trail`"),
    ({"kind": "only", "time": 1, "x": 0, "y": 0, "trail": [[0, 0.5, 0, 0.5, 1]]}, "`trail`"),
    ({"kind": "only", "time": 1, "x": 0, "y": 0, "trail": [[1, 0, 0, 1, 1], [0, 0, 0, 1, 1]]}, "order of time"),
    ({"kind": "only", "time": 1, "x": 0, "y": 0, "trail": [[0, 0, 0, 1]]}, "`trail`"),
    ({"kind": "only", "time": 1e300, "x": 0, "y": 0}, "`time`"),
]


@pytest.mark.parametrize(("row", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_told_with_its_number(row, message):
    with pytest.raises(MediaError, match="correction 2") as error:
        parse({"kind": "nothing", "start": 1, "end": 2}, row)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": "sonomask.view/1"}', b"[" * 100_000, b'{"a":' * 50_000, b"1" * 5000,
     b'{"schema": "sonomask.corrections/2", "corrections": []}', b'{"schema": "sonomask.corrections/1"}',
     b'{"schema": "sonomask.corrections/1", "corrections": [{"kind": "nothing", "start": NaN, "end": 2}]}',
     b'{"schema": "sonomask.corrections/1", "corrections": [], "video": 5}',
     b'{"schema": "sonomask.corrections/1", "corrections": [], "video": {"duration": 1e999}}',
     b'{"schema": "sonomask.corrections/1", "corrections": [1]}'],
    ids=range(14),
)  # fmt: skip
def test_what_is_no_such_file_is_told_in_a_line(raw):
    with pytest.raises(MediaError, match=r"^x\.json: ") as error:
        parse_corrections(raw, source="x.json")
    assert len(str(error.value)) < 500


def test_size_and_number_are_bounded(tmp_path, monkeypatch):
    span = {"kind": "nothing", "start": 1, "end": 2}
    assert len(parse(*[span] * 1000)) == 1000
    with pytest.raises(MediaError, match="1000"):
        parse(*[span] * 1001)
    thing = {"kind": "never", "time": 1, "x": 0, "y": 0, "trail": [[i, 0, 0, 1, 1] for i in range(2001)]}
    with pytest.raises(MediaError, match="2000"):
        parse(thing)
    thing["trail"].pop()
    with pytest.raises(MediaError, match="boxes"):
        parse(*[thing] * 51)
    monkeypatch.setattr(module, "LARGEST", 100)
    (tmp_path / "long.json").write_bytes(b" " * 101)
    with pytest.raises(MediaError, match="larger"):
        read_corrections(tmp_path / "long.json")
    with pytest.raises(MediaError, match="can't be read"):
        read_corrections(tmp_path)


def test_another_video_is_refused_and_a_copy_of_the_same_is_not():
    WHOLE.check_video(12.3, 1280, 720, name="copy.mkv")
    WHOLE.check_video(None, 640, 360, name="no length")
    Corrections(ITEMS).check_video(99.0, 1, 1, name="of no video")
    with pytest.raises(MediaError, match=r"12\.4 s \(talk\.mp4\)"):
        WHOLE.check_video(60.0, 640, 360, name="film.mp4")
    with pytest.raises(MediaError, match="640×360"):
        WHOLE.check_video(12.4, 360, 640, name="phone.mp4")
