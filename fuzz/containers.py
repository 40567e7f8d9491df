"""The readers of videos and sounds in this process: pictures and samples, or a known error. FFmpeg has fuzzers of its own."""

import itertools
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sonomask"]):
    import av

    from sonomask.errors import SonomaskError
    from sonomask.media.opening import Limits
    from sonomask.media.reader import VideoReader

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import corpus

av.logging.set_level(None)
ROOT = Path(tempfile.mkdtemp())
WHOLE = {suffix: corpus.whole(suffix) for suffix in corpus.KINDS}
LIMITS = Limits(seconds=60, gap=5)


def one(data):
    """A small whole file some of whose bytes are replaced, cut out or put in."""
    provider = atheris.FuzzedDataProvider(data)
    suffix = provider.PickValueInList(sorted(WHOLE))
    content = bytearray(WHOLE[suffix])
    for _ in range(provider.ConsumeIntInRange(1, 6)):
        place = provider.ConsumeIntInRange(0, min(len(content), 2_000 if provider.ConsumeBool() else len(content)))
        fresh = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 12))
        content[place : place + provider.PickValueInList([0, len(fresh), len(fresh), len(fresh), 4])] = fresh
    path = ROOT / f"x.{suffix}"
    path.write_bytes(bytes(content))
    try:
        with VideoReader(path, limits=LIMITS) as video:
            last = -1.0
            for frame in itertools.islice(video.frames(rate=4.0), 200):
                assert frame.time > last, (frame.time, last)
                last = frame.time
    except SonomaskError:
        pass


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
