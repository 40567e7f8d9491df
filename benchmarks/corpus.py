"""Broken and hostile media files: small whole ones, and changes of them drawn from a seed.

    python benchmarks/corpus.py FOLDER --count 2000 --seed 0

Each file is determined by (seed, index) alone. A third are random bytes changed; a third have a field of a header that
lies; the rest are cut, have parts exchanged, or are made to be hostile from scratch (huge pictures in few bytes, clocks that
jump, rates and channels that no device has).
"""

import argparse
import io
import random
import struct
import tarfile
import zlib
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

# ruff: noqa: ARG001, ARG005, E501 - the changes, and the clocks, are of one form; the fields are tables
LIES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
KINDS = {  # container: (suffix, video codec, pixel format, audio codec, sample rate)
    "mp4": ("libx264", "yuv420p", "aac", 16_000),
    "mov": ("mjpeg", "yuvj420p", "pcm_s16le", 8_000),
    "mkv": ("mpeg4", "yuv420p", "flac", 16_000),
    "webm": ("libvpx", "yuv420p", "libopus", 48_000),
    "avi": ("mpeg4", "yuv420p", "libmp3lame", 16_000),
    "ts": ("libx264", "yuv420p", "aac", 16_000),
}
FIELDS = {  # names in front of, or inside of, the numbers that tell how much memory and time a file costs
    "mp4": (b"mvhd", b"tkhd", b"mdhd", b"stts", b"ctts", b"stsz", b"stsc", b"stco", b"elst", b"avc1", b"mp4a", b"esds", b"avcC"),
    "mov": (b"mvhd", b"tkhd", b"mdhd", b"stts", b"stsz", b"stsc", b"stco", b"elst", b"jpeg", b"sowt"),
    "mkv": (b"\x2a\xd7\xb1", b"\x44\x89", b"\xb0", b"\xba", b"\xb5", b"\x9f", b"\x23\xe3\x83", b"\xe7", b"\xa3", b"\x63\xa2", b"\x86"),
    "webm": (b"\x2a\xd7\xb1", b"\x44\x89", b"\xb0", b"\xba", b"\xb5", b"\x9f", b"\x23\xe3\x83", b"\xe7", b"\xa3", b"\x63\xa2", b"\x86"),
    "avi": (b"avih", b"strh", b"strf", b"idx1", b"movi", b"vids", b"auds"),
    "ts": (b"\x47\x40", b"\x47\x01", b"\x00\x00\x01\xe0", b"\x00\x00\x01\xc0"),
    "mp3": (b"ID3", b"Xing", b"Info", b"\xff\xfb", b"\xff\xf3"),
    "wav": (b"RIFF", b"fmt ", b"data"),
    "png": (b"IHDR", b"IDAT", b"tEXt"),
    "jpeg": (b"\xff\xc0", b"\xff\xc4", b"\xff\xdb", b"\xff\xda"),
}  # fmt: skip
CODECS = (
    b"avc1",
    b"mp4v",
    b"hvc1",
    b"av01",
    b"vp09",
    b"jpeg",
    b"mp4a",
    b"alac",
    b"fLaC",
    b"Opus",
    b"sowt",
    b"twos",
    b"raw ",
)
NAMES = (
    b"V_MPEG4/ISO/ASP",
    b"V_VP8",
    b"A_FLAC",
    b"A_OPUS",
    b"V_VP9",
    b"V_AV1",
    b"V_PRORES",
    b"A_VORBIS",
    b"S_TEXT/UTF8",
)


@cache
def whole(suffix: str) -> bytes:
    """A small file of that kind that nothing is wrong with."""
    if suffix in KINDS:
        return muxed(suffix, *KINDS[suffix])
    image = (np.add.outer(np.arange(48), np.arange(64)) * 2)[..., None].repeat(3, 2).astype(np.uint8)
    if suffix in ("png", "jpeg"):
        from PIL import Image

        Image.fromarray(image).save(file := io.BytesIO(), suffix)
        return file.getvalue()
    if suffix == "wav":
        return riff(16_000, 1, 16, (np.sin(np.arange(16_000) / 6) * 9000).astype("<i2").tobytes())
    return muxed("mp3", None, "", "libmp3lame", 16_000)


def muxed(suffix, video, pixel, audio, rate, *, times=None, size=(48, 64), layout="mono", fps=8, shift=None, raw=None):
    """A file by PyAV; `shift` changes a packet's clock, `raw` replaces the pictures' packets."""
    out = io.BytesIO()
    kind = {"mkv": "matroska", "ts": "mpegts"}.get(suffix, suffix)
    with av.open(out, "w", format=kind) as file:
        picture = sound = None
        if video:
            picture = file.add_stream(video, rate=fps)
            picture.height, picture.width, picture.pix_fmt = *size, pixel
        if audio:
            sound = file.add_stream(audio, rate=rate, layout=layout)
        for index, time in enumerate(times or [i / fps for i in range(2 * fps)] if picture else ()):
            if raw is not None:
                packet = av.Packet(raw)
                packet.stream, packet.time_base = picture, Fraction(1, 1000)
                packet.pts = packet.dts = round(time * 1000)
                file.mux(packet)
                continue
            image = np.full((*size, 3), (index * 40) % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixel)
            frame.pts, frame.time_base = index, Fraction(1, fps)
            for packet in picture.encode(frame):
                mux(file, packet, shift)
        if picture and raw is None:
            for packet in picture.encode():
                mux(file, packet, shift)
        if sound:
            _tone(file, sound, rate, layout, shift)
    return out.getvalue()


def _tone(file, sound, rate, layout, shift):
    step = sound.codec_context.frame_size or 1024
    tone = (np.sin(np.arange(2 * rate) / 9) * 0.3).astype(np.float32)
    resample = av.AudioResampler(format=sound.codec_context.format, layout=layout, rate=rate, frame_size=step)
    frame = av.AudioFrame.from_ndarray(tone[None], format="flt", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    for part in [*resample.resample(frame), None]:
        for packet in sound.encode(part):
            mux(file, packet, shift)


def mux(file, packet, shift):
    if shift is not None and packet.pts is not None:
        packet.pts = packet.dts = shift(packet.pts, packet.time_base)
    file.mux(packet)


def riff(rate, channels, bits, data, *, claimed=None, code=1):
    """A wav whose numbers may be anything."""
    frame = max(1, channels * bits // 8)
    head = struct.pack("<HHIIHH", code, channels, rate & 0xFFFFFFFF, (rate * frame) & 0xFFFFFFFF, frame & 0xFFFF, bits)
    length = len(data) if claimed is None else claimed
    body = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", length & 0xFFFFFFFF) + data
    return b"RIFF" + struct.pack("<I", (len(body)) & 0xFFFFFFFF) + body


def sparse_tar(name: str, size: int) -> bytes:
    """A tar of 2 KB with a file that is said to be of any size, nearly all of it a hole (GNU's older form)."""
    entry = tarfile.TarInfo(name)
    entry.size = 512
    head = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    head[156:157] = tarfile.GNUTYPE_SPARSE
    head[386:410] = _base_256(size - 512) + _base_256(512)
    head[482:495] = b"\0" + _base_256(size)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + b" " * 512 + bytes(1024)


def _base_256(number):
    return b"\x80" + number.to_bytes(11, "big")


def blank_png(width, height, colour=2):
    """A picture of one colour in few bytes."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + width * channels)) for _ in range(height)) + packer.flush()

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def made() -> Iterator[tuple[str, bytes]]:
    """The files that are hostile by design."""
    for width, height in ((12_000, 12_000), (60_000, 2_000), (1, 40_000)):
        png = blank_png(width, height)
        yield f"bomb_{width}x{height}.png", png
        try:
            yield f"bomb_{width}x{height}.mov", muxed("mov", "png", "rgb24", "pcm_s16le", 16_000, raw=png)
        except (av.FFmpegError, ValueError):
            continue
    small = whole("jpeg")
    for side in (b"\xff\xff\xff\xff", b"\x20\x00\x20\x00", b"\x00\x01\xff\xff"):
        place = small.index(b"\xff\xc0") + 5
        yield f"sof_{side.hex()}.jpeg", small[:place] + side + small[place + 4 :]
    for rate, channels, bits, code in (
        (1, 1, 16, 1), (7, 1, 8, 1), (0, 1, 16, 1), (2**31, 1, 16, 1), (2**32 - 1, 2, 32, 3), (16_000, 65_535, 16, 1), (16_000, 0, 16, 1),
        (16_000, 300, 8, 1), (16_000, 1, 0, 1), (16_000, 1, 32, 3), (16_000, 1, 64, 3), (16_000, 2, 24, 1), (16_000, 1, 4, 17),
    ):  # fmt: skip
        data = np.random.default_rng(rate).bytes(65_536)
        yield f"wav_{rate}_{channels}_{bits}.wav", riff(rate, channels, bits, data)
        yield f"wavlie_{rate}_{channels}_{bits}.wav", riff(rate, channels, bits, data, claimed=0xFFFFFFF0, code=code)
    bad = np.array([0, np.nan, np.inf, -np.inf, 1e38] * 4000, "<f4").tobytes()
    yield "nan.wav", riff(16_000, 1, 32, bad, code=3)
    yield from clocks()
    for fps in (1, 1000, 60_000):
        yield (
            f"fps{fps}.mkv",
            muxed("mkv", "mpeg4", "yuv420p", "flac", 16_000, times=[i / fps for i in range(16)], fps=fps),
        )
    for layout in ("stereo", "5.1", "7.1"):
        yield f"{layout}.mkv", muxed("mkv", "mpeg4", "yuv420p", "flac", 48_000, layout=layout)
    yield "rate1.mkv", muxed("mkv", "mpeg4", "yuv420p", "pcm_s16le", 1)
    yield "tiny.mkv", muxed("mkv", "mpeg4", "yuv420p", "flac", 16_000, size=(2, 2))
    yield "ribbon.mkv", muxed("mkv", "mpeg4", "yuv420p", "flac", 16_000, size=(2, 8000), fps=2)
    yield "list.m3u8", b"#EXTM3U\n#EXTINF:5,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    yield "list.mp4", b"ffconcat version 1.0\nfile whole.mp4\n"
    yield "empty.mp4", b""
    yield "zeros.mp4", bytes(100_000)


def clocks() -> Iterator[tuple[str, bytes]]:
    """Timestamps that jump, go back, stand still or are negative."""
    big = 2**40
    shifts = {
        "jump": lambda t, b: t + (int(1e9 / b) if t * b > 1 else 0),
        "hours": lambda t, b: t * 4_000,
        "still": lambda t, b: 0,
        "dense": lambda t, b: t // 1000,
        "back": lambda t, b: big - t * 2000,
        "zigzag": lambda t, b: t + (int(5 / b) if (t // 3) % 2 else 0),
        "negative": lambda t, b: t - int(100 / b),
        "reset": lambda t, b: t - int(1 / b) if t * b > 1 else t,
    }
    for name, shift in shifts.items():
        for suffix in ("mkv", "avi", "mp4", "ts"):
            try:
                yield f"clock_{name}.{suffix}", muxed(suffix, *KINDS[suffix], shift=shift)
            except (av.FFmpegError, ValueError, OverflowError):
                continue  # the muxer will have none of it
    ts = whole("ts")
    half = len(ts) // 376 * 188
    yield "clock_concat.ts", ts * 2
    yield "clock_backwards.ts", ts[half:] + ts[:half]


def boxes(data: bytes, suffix: str) -> list[int]:
    """Where the parts of a file begin: names of its fields and their lengths before them."""
    found = []
    for name in FIELDS[suffix]:
        start = data.find(name)
        while start >= 0 and len(found) < 400:
            found.append(start)
            start = data.find(name, start + 1)
    return sorted({0, *found, *(max(0, place - 4) for place in found)})


def flip(data: bytes, suffix: str, rng: random.Random) -> bytes:
    """Some bytes changed: anywhere, or near the front, where the headers are."""
    changed = bytearray(data)
    reach = len(data) if rng.random() < 0.5 else min(len(data), 1200)
    for _ in range(rng.choice((1, 2, 4, 16, 64, 400))):
        changed[rng.randrange(reach)] = rng.randrange(256)
    return bytes(changed)


def lie(data: bytes, suffix: str, rng: random.Random) -> bytes:
    """Numbers after a field's name become extreme."""
    changed, places = bytearray(data), boxes(data, suffix)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.choice(places) + rng.randrange(0, 100)
        width = rng.choice((1, 2, 4, 8))
        value = rng.choice((*LIES, rng.getrandbits(32))) & (2 ** (8 * width) - 1)
        changed[place : place + width] = value.to_bytes(width, rng.choice(("big", "little")))
    return bytes(changed)


def cut(data: bytes, suffix: str, rng: random.Random) -> bytes:
    """Truncated at the beginning of a part, or anywhere."""
    place = rng.choice(boxes(data, suffix)) if rng.random() < 0.7 else rng.randrange(len(data))
    return data[: place + rng.choice((0, 0, 4, 8, 9))]


def swap(data: bytes, suffix: str, rng: random.Random) -> bytes:
    """Parts exchanged, doubled or lost; codecs under another's name; the middle of another kind of file."""
    how = rng.randrange(4)
    if how == 0:
        names = NAMES if suffix in ("mkv", "webm") else CODECS
        old, new = rng.choice([n for n in names if n in data] or [data[:4]]), rng.choice(names)
        return data.replace(old, new.ljust(len(old), b"\0")[: len(old)])
    a, b, c = sorted(rng.choice(boxes(data, suffix)) for _ in range(3))
    if how == 1:
        return data[:a] + data[b:c] + data[a:b] + data[c:]
    if how == 2:
        return data[:b] + data[a:b] + data[b:] if rng.random() < 0.5 else data[:a] + data[b:]
    other = whole(rng.choice([k for k in FIELDS if k != suffix]))
    return data[:a] + other[len(other) // 4 : len(other) // 2] + data[b:]


def mutant(index: int, seed: int = 0) -> tuple[str, bytes]:
    """Name and content of a file."""
    rng = random.Random(f"{seed}/{index}")
    suffix = rng.choice([*FIELDS, "mp4", "mkv", "mp4", "webm", "avi"])
    change = rng.choice((flip, flip, lie, lie, cut, swap))
    data = change(whole(suffix), suffix, rng)
    if rng.random() < 0.2:
        data = rng.choice((flip, lie, cut, swap))(data, suffix, rng) if len(data) > 200 else data
    return f"{index:05d}_{change.__name__}.{suffix}", data


def corpus(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """The hostile ones, then so many mutants that there are `count`."""
    done = 0
    for name, data in made():
        if done < count:
            yield name, data
        done += 1
    for index in range(max(0, count - done)):
        yield mutant(index, seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, data in corpus(options.count, options.seed):
        (options.folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
