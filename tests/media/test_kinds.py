"""File kinds of recorders, cameras, browsers and editors: pictures, size, length and sound of each come out right.

docs/reliability.md lists the same kinds with where they come from; a test below keeps the two together.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sonomask.media.reader import VideoReader

ROOT = Path(__file__).parents[2]
MONO16, MONO48 = {"rate": 16_000}, {"rate": 48_000}


def made(codec="libx264", pixel="yuv420p", sound="aac", rate=48_000, **more):
    """Arguments of `build`, with one sound track."""
    layout = more.pop("layout", "mono")
    return {
        "codec": codec,
        "pixel": pixel,
        "sounds": ((None, {"codec": sound, "rate": rate, "layout": layout}),),
        **more,
    }


VPX = {"options": {"deadline": "realtime", "cpu-used": "8", "b": "2M"}}
BITS = {"options": {"b": "3M"}}
X265 = {"codec": "libx265"}
KINDS = {
    "H.264, AAC in MP4": ("a.mp4", made()),
    "H.264 with B-frames in MP4": ("a.mp4", made(options={"crf": "5", "bf": "3", "b-adapt": "0"})),
    "H.264 4:4:4 in MP4": ("a.mp4", made(pixel="yuv444p")),
    "H.264 10 bits in MP4": ("a.mp4", made(pixel="yuv420p10le")),
    "H.264, stereo AAC 44.1 kHz in MOV": ("a.mov", made(rate=44_100, layout="stereo")),
    "H.264 in M4V": ("a.m4v", made(container="mp4")),
    "fragmented MP4": ("a.mp4", made(container_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"})),
    "MP4 with its index first": ("a.mp4", made(container_options={"movflags": "faststart"})),
    "HEVC (hvc1) in MP4": ("a.mp4", made(**X265)),
    "HEVC 10 bits in MKV": ("a.mkv", made(**X265, pixel="yuv420p10le")),
    "AV1 in MP4": ("a.mp4", made("libsvtav1", options={"preset": "12", "crf": "20", "svtav1-params": "lp=1"})),
    "AV1, Opus in WebM": ("a.webm", made("libsvtav1", sound="libopus", options={"preset": "12", "crf": "20"})),
    "VP8, Opus in WebM": ("a.webm", made("libvpx", sound="libopus", **VPX)),
    "VP9, Opus in WebM": ("a.webm", made("libvpx-vp9", sound="libopus", **VPX)),
    "WebM without a length": ("a.webm", made("libvpx", sound="libopus", container_options={"live": "1"}, **VPX)),
    "H.264, AC-3 in MKV": ("a.mkv", made(sound="ac3")),
    "H.264, E-AC-3 in MKV": ("a.mkv", made(sound="eac3")),
    "H.264, FLAC in MKV": ("a.mkv", made(sound="flac")),
    "H.264, Opus in MKV": ("a.mkv", made(sound="libopus")),
    "H.264, MP3 in MKV": ("a.mkv", made(sound="libmp3lame")),
    "H.264, PCM 24 bits in MKV": ("a.mkv", made(sound="pcm_s24le")),
    "H.264, float PCM in MKV": ("a.mkv", made(sound="pcm_f32le")),
    "H.264, 5.1 AC-3 in MKV": ("a.mkv", made(sound="ac3", layout="5.1")),
    "FFV1, PCM in MKV": ("a.mkv", made("ffv1", sound="pcm_s16le")),
    "FFV1 RGB in MKV": ("a.mkv", made("ffv1", "bgr0", sound="flac")),
    "grey FFV1 in MKV": ("a.mkv", made("ffv1", "gray", sound="flac")),
    "FFV1 4:1:0 in MKV": ("a.mkv", made("ffv1", "yuv410p", sound="flac")),
    "H.264, AAC in TS": ("a.ts", made()),
    "H.264, MP2 in TS": ("a.ts", made(sound="mp2")),
    "H.264, AC-3 in M2TS": ("a.m2ts", made(sound="ac3", container="mpegts", container_options={"mpegts_m2ts_mode": "1"})),
    "H.264, AC-3 in MTS": ("a.mts", made(sound="ac3", container="mpegts", container_options={"mpegts_m2ts_mode": "1"})),
    "HEVC in TS": ("a.ts", made(**X265)),
    "MPEG-2 in TS": ("a.ts", made("mpeg2video", sound="mp2", **BITS)),
    "interlaced H.264 in TS": ("a.ts", made(options={"x264-params": "tff=1:crf=5"})),
    "MPEG-1 in MPG": ("a.mpg", made("mpeg1video", sound="mp2", **BITS)),
    "MPEG-2 in MPG": ("a.mpg", made("mpeg2video", sound="mp2", **BITS)),
    "MPEG-2, AC-3 in VOB": ("a.vob", made("mpeg2video", sound="ac3", **BITS)),
    "MPEG-2 in MXF": ("a.mxf", made("mpeg2video", sound="pcm_s16le", **BITS)),
    "H.264, AAC in FLV": ("a.flv", made(rate=44_100)),
    "Sorenson H.263, MP3 in FLV": ("a.flv", made("flv", sound="libmp3lame", rate=44_100, **BITS)),
    "FLV without a length": ("a.flv", made(rate=44_100, container_options={"flvflags": "no_duration_filesize"})),
    "MPEG-4, MP3 in AVI": ("a.avi", made("mpeg4", sound="libmp3lame", **BITS)),
    "H.264 with B-frames in AVI": ("a.avi", made(sound="libmp3lame", options={"crf": "5", "bf": "3", "b-adapt": "0"})),
    "Motion JPEG, PCM in AVI": ("a.avi", made("mjpeg", "yuvj420p", sound="pcm_s16le", **BITS)),
    "raw video in AVI": ("a.avi", made("rawvideo", sound="pcm_s16le")),
    "HuffYUV in AVI": ("a.avi", made("huffyuv", "yuv422p", sound="pcm_s16le")),
    "Ut Video in AVI": ("a.avi", made("utvideo", "yuv422p", sound="pcm_s16le")),
    "MagicYUV in AVI": ("a.avi", made("magicyuv", "yuv444p", sound="pcm_s16le")),
    "MS MPEG-4 in AVI": ("a.avi", made("msmpeg4", sound="libmp3lame", **BITS)),
    "8-bit PCM in AVI": ("a.avi", made("mpeg4", sound="pcm_u8", rate=16_000, **BITS)),
    "IMA ADPCM in AVI": ("a.avi", made("mpeg4", sound="adpcm_ima_wav", rate=44_100, **BITS)),
    "WMV2, MP3 in WMV": ("a.wmv", made("wmv2", sound="libmp3lame", rate=44_100, **BITS)),
    "MS MPEG-4, MP3 in ASF": ("a.asf", made("msmpeg4", sound="libmp3lame", rate=44_100, **BITS)),
    "ProRes 422 in MOV": ("a.mov", made("prores_ks", "yuv422p10le", sound="pcm_s16le")),
    "ProRes 4444 in MOV": ("a.mov", made("prores_ks", "yuva444p10le", sound="pcm_s24le")),
    "DNxHR in MOV": ("a.mov", made("dnxhd", "yuv422p", sound="pcm_s16le", size=(288, 256), colours=(1, 1, 1, False),
                          options={"profile": "dnxhr_sq"})),
    "Motion JPEG in MOV": ("a.mov", made("mjpeg", "yuvj420p", sound="pcm_mulaw", rate=8000, **BITS)),
    "QuickTime Animation in MOV": ("a.mov", made("qtrle", "rgb24", sound="pcm_s16be")),
    "PNG in MOV": ("a.mov", made("png", "rgb24", sound="alac")),
    "raw 4:2:2 in MOV": ("a.mov", made("v210", "yuv422p10le", sound="pcm_s16le")),
    "Opus in MP4": ("a.mp4", made(sound="libopus")),
    "MP3 in MP4": ("a.mp4", made(sound="libmp3lame")),
    "AC-3 in MP4": ("a.mp4", made(sound="ac3")),
    "AAC at 8 kHz in MP4": ("a.mp4", made(rate=8000)),
    "AAC at 96 kHz in MP4": ("a.mp4", made(rate=96_000)),
    "H.264 in NUT": ("a.nut", made(sound="flac")),
    "29.97 frames a second in MP4": ("a.mp4", made(fps=Fraction(30_000, 1001))),
    "60 frames a second in MP4": ("a.mp4", made(fps=Fraction(60))),
    "12.5 frames a second in MKV": ("a.mkv", made(fps=Fraction(25, 2))),
    "an odd size in MKV": ("a.mkv", made("ffv1", "yuv444p", sound="flac", size=(97, 131))),
    "portrait in MP4": ("a.mp4", made(size=(320, 180))),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_file_kind_is_read_right(build, name):
    file, words = KINDS[name]
    path = build(file, seconds=1.2, **words)
    size, fps = words.get("size", (96, 128)), float(words.get("fps", 25))
    with VideoReader(path) as reader:
        assert (reader.info.height, reader.info.width) == size
        assert float(reader.info.fps) == pytest.approx(fps, rel=0.03)
        assert reader.info.duration == pytest.approx(1.2, abs=0.3)
        frames = list(reader.frames())
        assert len(frames) == pytest.approx(1.2 * fps, abs=1.5)
        assert np.diff([frame.time for frame in frames]).max() < 2.5 / fps
        heard = np.concatenate(list(reader.waveform()))
        assert not [line for line in reader.warnings if "left out" in line or "damaged" in line]
    image = frames[len(frames) // 2].image.astype(int)
    expected = build.patches(*size).astype(int)
    if words["pixel"] == "gray":
        image, expected = image.mean(2, keepdims=True), (expected @ [0.299, 0.587, 0.114])[..., None]
    for y in (size[0] // 4, 3 * size[0] // 4):
        for x in (size[1] // 4, 3 * size[1] // 4):
            assert np.abs(image[y - 3 : y + 3, x - 3 : x + 3].mean((0, 1)) - expected[y, x]).max() < 12
    assert len(heard) / 16_000 == pytest.approx(1.2, abs=0.2)
    spectrum = np.abs(np.fft.rfft(heard[3200:16_000]))
    assert spectrum.argmax() * 16_000 / 12_800 == pytest.approx(440, abs=3)
    assert 0.15 < np.abs(heard[3200:16_000]).max() < 2  # a tone in each of six channels adds up


def test_the_docs_list_every_kind():
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert len(KINDS) >= 60
    assert [name for name in KINDS if f"| {name} |" not in text] == []
