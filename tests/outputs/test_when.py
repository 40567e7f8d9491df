"""When something sounds, against what reads it: FFmpeg for subtitles, OpenTimelineIO for markers."""

import csv

import av
import numpy as np
import pytest

from sonomask.media.reader import VideoReader
from sonomask.outputs.formats import paths_of
from sonomask.outputs.write import open_outputs
from sonomask.structures import Masks

TIMES = tuple(0.1 + 0.2 * i for i in range(30))  # six seconds
SOUNDS = [(1.0, 2.0), (3.4, 6.0)]


def pieces(labels=None):
    probability = np.full((len(TIMES), 48, 64), 0.1, np.float32)
    for i, time in enumerate(TIMES):
        if any(start < time < end for start, end in SOUNDS):
            probability[i, :10] = 0.9
    return Masks(
        TIMES, probability, 0.5, None if labels is None else (probability > 0.5).astype(np.uint8) * labels, None
    )


def spans(path, codec):
    with av.open(str(path)) as file:
        stream = file.streams.subtitles[0]
        assert stream.codec_context.name == codec
        return [
            (float(p.pts * p.time_base), float((p.pts + p.duration) * p.time_base), bytes(p).decode())
            for p in file.demux(stream) if p.size
        ]  # fmt: skip


@pytest.mark.parametrize(("name", "codec"), [("srt", "srt"), ("vtt", "webvtt")])
def test_ffmpeg_reads_the_subtitles(written, name, codec):
    read = spans(written([name], pieces())[name], codec)
    assert [(start, end) for start, end, _ in read] == [pytest.approx(span, abs=0.002) for span in SOUNDS]
    assert {text for _, _, text in read} == {"sounding"}


def test_audacity_s_labels_have_start_end_and_name(written):
    path = written(["audacity"], pieces())["audacity"]
    assert path.name == "video.labels.txt"
    rows = list(csv.reader(path.read_text().splitlines(), delimiter="\t"))
    assert [[float(a), float(b)] for a, b, _ in rows] == [pytest.approx(list(span), abs=0.001) for span in SOUNDS]
    assert [name for _, _, name in rows] == ["sounding"] * 2


def test_rttm_has_ten_fields(written):
    classes = ("background", "dog bark", "a")
    rows = [
        line.split(" ")
        for line in written(["rttm"], pieces(labels=1), classes=classes)["rttm"].read_text().splitlines()
    ]
    assert [row[:3] + row[5:7] + row[8:] for row in rows] == [
        ["SPEAKER", "video", "1", "<NA>", "<NA>", "<NA>", "<NA>"]
    ] * 2
    assert [(float(row[3]), float(row[4])) for row in rows] == [pytest.approx((a, b - a), abs=0.002) for a, b in SOUNDS]
    assert {row[7] for row in rows} == {"dog_bark"}


def test_opentimelineio_reads_the_markers(written):
    otio = pytest.importorskip("opentimelineio")
    timeline = otio.adapters.read_from_file(str(written(["otio"], pieces())["otio"]))
    (clip,) = timeline.find_clips()
    assert clip.media_reference.target_url == "video.mp4"
    assert clip.source_range.duration.to_seconds() == pytest.approx(6.0, abs=0.1)
    found = [
        (m.marked_range.start_time.to_seconds(), m.marked_range.end_time_exclusive().to_seconds()) for m in clip.markers
    ]
    assert found == [pytest.approx(span, abs=0.002) for span in SOUNDS]


def test_silence_makes_an_empty_list(written):
    quiet = Masks(TIMES[:3], np.zeros((3, 48, 64), np.float32), 0.5, None, None)
    paths = written(["srt", "vtt", "audacity", "rttm", "otio"], quiet)
    assert paths["srt"].read_text() == paths["audacity"].read_text() == paths["rttm"].read_text() == ""
    assert paths["vtt"].read_text() == "WEBVTT\n\n"


def test_times_of_a_part_are_those_of_the_source(video, tmp_path):
    paths = paths_of(tmp_path / "part", ["srt", "masks", "npz"])
    own = Masks((0.5, 1.5), np.full((2, 48, 64), 0.9, np.float32), 0.5, None, None)
    with VideoReader(video, start=2.0, end=4.0) as reader, open_outputs(reader, paths, facts=reader.info.facts) as take:
        take(own)
    assert spans(paths["srt"], "srt")[0][:2] == pytest.approx((2.0, 4.0))
    np.testing.assert_allclose(np.load(paths["npz"])["times"], [2.5, 3.5])
    assert (paths["masks"] / "00002.500000.png").is_file()
