import io
import struct

import pytest
from PIL import Image

from sonomask.errors import DatasetError
from sonomask.safe_reading.pictures import open_picture


def encoded(kind, size=(8, 8), **options):
    Image.new("RGB", size, (10, 200, 30)).save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "webp"])
def test_pictures_are_known_by_their_content(kind, tmp_path):
    (tmp_path / "x.png").write_bytes(encoded(kind))
    assert open_picture(tmp_path / "x.png", "L").size == (8, 8)


def test_a_format_that_runs_a_program_is_refused(tmp_path):
    (tmp_path / "x.png").write_bytes(encoded("eps"))
    with pytest.raises(DatasetError, match="can't be read"):
        open_picture(tmp_path / "x.png")


def test_a_picture_of_a_billion_pixels_in_few_bytes_is_refused(tmp_path):
    import corpus

    (tmp_path / "x.png").write_bytes(corpus.blank_png(12_000, 12_000))
    with pytest.raises(DatasetError, match="limit"):
        open_picture(tmp_path / "x.png")


def test_what_is_cut_or_changed_is_refused_by_its_name(tmp_path):
    whole = encoded("png")
    place = whole.index(b"IDAT") + 8
    for content in (b"", whole[:40], whole[:place] + b"\xff" * 20 + whole[place + 20 :], struct.pack("<I", 7) * 30):
        (tmp_path / "x.png").write_bytes(content)
        with pytest.raises(DatasetError, match=r"x\.png"):
            open_picture(tmp_path / "x.png")


def test_a_missing_picture_is_said_to_be_missing(tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        open_picture(tmp_path / "x.png")


def scanned(times, *, thumbnail=b""):
    """A progressive JPEG, its last scan so many times, and bytes that no decoder follows."""
    whole = encoded("jpeg", progressive=True)
    last = whole.rindex(b"\xff\xc4")
    head = b"\xff\xe5" + (len(thumbnail) + 2).to_bytes(2) + thumbnail if thumbnail else b""
    return whole[:2] + head + whole[2:last] + whole[last:-2] * times + b"\xff\xd9" + b"\xff\xda" * 200


def test_a_jpeg_that_goes_through_its_pixels_for_ever_is_refused(tmp_path):
    (tmp_path / "x.jpg").write_bytes(scanned(120))
    with pytest.raises(DatasetError, match=r"a JPEG in 1\d\d scans"):
        open_picture(tmp_path / "x.jpg")


def test_what_only_looks_like_a_scan_is_none(tmp_path):
    (tmp_path / "x.jpg").write_bytes(scanned(3, thumbnail=b"\xff\xda" * 200))
    assert open_picture(tmp_path / "x.jpg").size == (8, 8)


@pytest.mark.parametrize(
    "content",
    [
        # a frame beyond its screen
        b"GIF89a\x08\0\x08\0\x80\0\0" + bytes(6) + b",\0\0\0\0\x60\xea\x60\xea\0\x02\x02\x4c\x01\0;",
        b"P6 100000 100000 255\n",
        b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 10**6, 10**6, 1, 8, 1, 0, 0, 0, 0, 0),
        b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64),  # JPEG 2000
    ],
)  # fmt: skip
def test_heads_that_promise_a_lot_and_other_formats_are_refused(content, tmp_path):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"limit|can't be read"):
        open_picture(tmp_path / "x.png")
