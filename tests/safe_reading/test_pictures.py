import io
import struct

import pytest
from PIL import Image

from sonomask.errors import DatasetError
from sonomask.safe_reading.pictures import open_picture


def encoded(kind, size=(8, 8)):
    Image.new("RGB", size, (10, 200, 30)).save(file := io.BytesIO(), kind)
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
