import pytest

from sonomask.errors import MediaError
from sonomask.media.reader import VideoReader
from sonomask.outputs.formats import FORMATS, paths_of
from sonomask.outputs.write import open_outputs

FAST = [name for name in FORMATS if not name.startswith("alpha")]


def test_all_formats_come_from_one_pass_under_their_names(written, masks, tmp_path):
    paths = written(list(FORMATS), masks(*(i + 0.9 for i in range(6)), presence=0.7))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(p.name for p in paths.values())


def test_what_breaks_off_leaves_nothing(video, masks, tmp_path):
    def broken():
        paths = paths_of(tmp_path / "out" / "video", FAST)
        with VideoReader(video) as reader, open_outputs(reader, paths, facts={}) as write:
            write(masks(0.5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["dim", "npz", "coco"])
def test_what_exists_is_kept_unless_overwritten(written, masks, name, tmp_path):
    path = written([name], masks(0.5))[name]
    with pytest.raises(MediaError, match="exists"):
        written([name], masks(0.5))
    written([name], masks(0.5), overwrite=True)
    assert [p.name for p in (tmp_path / "out").iterdir()] == [path.name]


@pytest.mark.parametrize("name", [name for name, info in FORMATS.items() if info.marker])
def test_a_folder_that_is_not_ours_is_never_replaced(written, masks, name, tmp_path):
    folder = tmp_path / "out" / f"video{FORMATS[name].suffix}"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("precious")
    with pytest.raises(MediaError, match=FORMATS[name].marker):
        written([name], masks(0.5), overwrite=True)
    assert (folder / "thesis.txt").exists()


@pytest.mark.parametrize("formats", [[], ["gif"]])
def test_an_unknown_format_is_refused(tmp_path, formats):
    with pytest.raises(ValueError, match="formats"):
        paths_of(tmp_path / "video", formats)


def test_classes_without_names_are_refused(written, masks):
    with pytest.raises(ValueError, match="classes"):
        written(["npz"], masks(0.5, semantic=True))
