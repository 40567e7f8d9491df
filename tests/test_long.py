"""Memory does not grow with the length of a video."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

LONG = Path(__file__).parents[1] / "benchmarks" / "long.py"
PEAK = (
    "import resource, sys; from sonomask.cli.main import main; code = main(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); raise SystemExit(code)"
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="kilobytes by Linux' count")
def test_ten_times_the_length_takes_no_more_memory(tmp_path):
    """Decoder, model, drawing and encoder work at once here; `benchmarks/long.py` does the same with three hours."""
    make, peaks = runpy.run_path(str(LONG))["make"], []
    for minutes in (3, 30):
        video = tmp_path / f"{minutes}.mkv"
        make(video, 60 * minutes)
        words = [
            "segment",
            str(video),
            "--model",
            "avs_mini.synthetic",
            "--rate",
            "0.2",
            "--format",
            "overlay",
            "masks",
        ]
        done = subprocess.run([sys.executable, "-c", PEAK, *words], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.splitlines()[-1]) / 1024)
    assert peaks[1] < peaks[0] + 60, peaks
