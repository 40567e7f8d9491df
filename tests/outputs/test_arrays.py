import numpy as np
import pytest

CLASSES = ("background", *(f"class {i}" for i in range(1, 71)))


@pytest.mark.parametrize("semantic", [False, True])
def test_an_npz_reads_back_in_half_precision(written, masks, semantic):
    pieces = [masks(0.0, 0.5, semantic=semantic), masks(1.0, semantic=semantic)]
    path = written(["npz"], *pieces, classes=CLASSES if semantic else ())["npz"]
    with np.load(path) as file:
        np.testing.assert_array_equal(file["times"], [0, 0.5, 1])
        expected = np.concatenate([piece.probability for piece in pieces]).astype(np.float16)
        np.testing.assert_array_equal(file["probability"], expected)
        assert ("labels" in file) == semantic
        assert "presence" not in file


def test_an_npz_holds_the_presence_scores(written, masks):
    with np.load(written(["npz"], masks(0.0, 1.0, presence=0.25))["npz"]) as file:
        np.testing.assert_array_equal(file["presence"], [0.25, 0.25])
