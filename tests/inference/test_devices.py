"""What a GPU would be asked for, told without having one: faked where CUDA would answer."""

import logging
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch

import sonomask
from sonomask.api import manifest_facts
from sonomask.batches import Output
from sonomask.inference import onnx_scorer
from sonomask.inference.loading import load_fast
from sonomask.inference.replay import MOST, Recording, Replay
from sonomask.inference.torch_scorer import TorchScorer, chosen_precision, computing
from sonomask.models.catalog import create_model
from sonomask.structures import ModelConfig

CUDA = torch.device("cuda", 0)


class Plain(torch.nn.Module):
    """A matrix product, whose precision can be seen."""

    config = ModelConfig("plain", image_size=(16, 16), clip_length=2)

    def forward(self, images, logmel, valid=None):
        assert valid is None
        assert logmel is None or len(logmel) == len(images)
        scores = images.mean(2) @ torch.linspace(-1, 1, 256).view(16, 16)
        return Output(scores[:, :, None])


def clips(count):
    pictures = np.random.default_rng(0).integers(0, 255, (count, 2, 16, 16, 3)).astype(np.uint8)
    return pictures, np.zeros((count, 2, 1, 96, 64), np.float32)


@pytest.mark.parametrize(
    ("asked", "device", "got"),
    [("auto", "cuda", "tf32"), ("auto", "cpu", "float32"), ("auto", "mps", "float32"), ("tf32", "cpu", "float32"),
     ("bf16", "cpu", "bf16"), ("float32", "cuda", "float32"), ("bf16", "cuda", "bf16")],
)  # fmt: skip
def test_a_precision_is_chosen_by_the_device(asked, device, got):
    assert chosen_precision(asked, torch.device(device)) == got


def test_a_recurrent_model_stays_exact_unless_told():
    assert chosen_precision("auto", CUDA, recurrent=True) == "float32"
    assert chosen_precision("tf32", CUDA, recurrent=True) == "tf32"


def test_the_precision_is_that_of_the_products_and_is_told():
    exact, rough = (sonomask.Segmenter(Plain(), precision=precision, device="cpu") for precision in ("auto", "bf16"))
    wanted, found = (segmenter.scorer(*clips(1)).logits for segmenter in (exact, rough))
    assert found.dtype == np.float32
    assert 0 < np.abs(found - wanted).max() < 0.1
    assert manifest_facts(exact)["precision"] == "float32"
    assert manifest_facts(rough)["precision"] == "bf16"


def test_what_is_computed_in_ends_with_the_call():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with computing("tf32", CUDA):
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32
        with computing("float32", CUDA):
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


def test_an_engine_without_a_precision_says_so():
    scorer = load_fast("world.real", "cpu", "onnx")
    assert sonomask.Segmenter(scorer, precision="tf32", device="cpu").scorer is scorer
    with pytest.raises(ValueError, match="`precision`: only torch"):
        sonomask.Segmenter(scorer, precision="bf16", device="cpu")
    with pytest.raises(ValueError, match="`cuda_graphs`: only torch"):
        sonomask.Segmenter(scorer, cuda_graphs=True, device="cpu")


@pytest.fixture
def card(monkeypatch):
    """A card of 8 GB of which 1 GB is held; each clip of a call takes 1.5 GB more."""
    state = SimpleNamespace(held=1e9, peak=0.0, clips=0)
    fakes = {
        "mem_get_info": lambda _: (8e9 - state.held, 8e9),
        "memory_reserved": lambda _: state.held,
        "memory_allocated": lambda _: state.held,
        "reset_peak_memory_stats": lambda _: setattr(state, "peak", state.held),
        "max_memory_allocated": lambda _: state.peak,
        "empty_cache": lambda: None,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)

    class Card(Plain):
        def forward(self, images, logmel, valid=None):
            state.peak = max(state.peak, state.held + 1.5e9 * len(images))
            if state.peak > 8e9:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().forward(images, logmel, valid)

    scorer = TorchScorer(Card(), "cpu")
    scorer.on_cuda = True
    scorer.to = scorer.asked = lambda *_, **__: scorer
    return SimpleNamespace(scorer=scorer, state=state)


def test_a_card_gets_as_many_clips_as_fit_into_its_free_memory(card):
    assert card.scorer.room() == 1
    card.scorer(*clips(1))
    assert card.scorer.room() == 3  # 0.8 of 7 GB
    card.state.held = 5e9  # another program came
    assert card.scorer.room() == 1
    card.state.held = 7.9e9
    assert card.scorer.room() == 1
    assert TorchScorer(Plain(), "cpu").room() is None


def test_a_segmenter_on_a_card_of_8_gb_never_asks_for_more(card):
    segmenter = sonomask.Segmenter(card.scorer, device="cpu", batch_size=16)
    counts = []
    for _ in range(3):
        counts.append(segmenter._room())
        card.scorer(*clips(counts[-1]))
    assert counts == [1, 3, 3]


def test_memory_that_others_took_meanwhile_halves_the_batch_of_a_card(card, caplog):
    segmenter = sonomask.Segmenter(card.scorer, device="cpu", batch_size=4)
    card.scorer(*clips(1))
    card.state.held = 4e9  # three fit by the last count
    segmenter._room = lambda: segmenter.batch_size
    sizes = []
    pictures, sound = clips(4)
    start = 0
    while start < 4:
        part = slice(start, start + segmenter._room())
        try:
            segmenter._run(pictures[part], sound[part])
        except MemoryError as error:
            segmenter.batch_size = segmenter._less(error, len(pictures[part]), "clip", "a.mp4")
            continue
        sizes.append(len(pictures[part]))
        start = part.stop
    assert sizes == [2, 2]
    assert "goes on with 2" in caplog.text


def replayed(model, inputs):
    """What `record_on_cuda` does, where nothing needs recording: the call reads static tensors and writes static ones."""
    static = {name: value.clone() for name, value in inputs.items()}
    output = model(**static)
    return Recording(static, output, lambda: output.logits.copy_(model(**static).logits))


def test_a_recorded_model_gives_what_the_model_gives_for_each_input_and_shape():
    torch.manual_seed(0)
    model = create_model("avs_mini", fusion="add").eval()
    recorded = []
    replay = Replay(model, lambda *given: recorded.append(1) or replayed(*given))
    with torch.inference_mode():
        for count in (1, 2, 1, 1):
            images, sound = torch.randn(count, 2, 3, 64, 64), torch.randn(count, 2, 1, 96, 64)
            torch.testing.assert_close(replay(images=images, logmel=sound).logits, model(images, sound).logits)
    assert len(recorded) == 2


def test_a_model_that_cannot_be_recorded_runs_as_it_is(caplog):
    def refused(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    replay = Replay(Plain(), refused)
    images = torch.randn(1, 2, 3, 16, 16)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            torch.testing.assert_close(replay(images=images, logmel=None).logits, Plain()(images, None).logits)
    assert caplog.text.count("can't be recorded") == 1


def test_memory_that_ends_while_recording_is_told_as_such():
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        Replay(Plain(), full)(images=torch.randn(1, 2, 3, 16, 16), logmel=None)


def test_only_so_many_shapes_are_held():
    replay = Replay(Plain(), replayed)
    for count in range(1, MOST + 4):
        images = torch.randn(count, 2, 3, 16, 16)
        torch.testing.assert_close(replay(images=images, logmel=None).logits, Plain()(images, None).logits)
    assert len(replay.held) == MOST


@pytest.mark.parametrize(
    ("device", "provider", "options"),
    [("cuda", "CUDAExecutionProvider", {}), ("cuda:1", "CUDAExecutionProvider", {"device_id": "1"}),
     ("coreml", "CoreMLExecutionProvider", {}), ("mps", "CoreMLExecutionProvider", {}),
     ("directml", "DmlExecutionProvider", {})],
)  # fmt: skip
def test_a_graph_runs_on_the_provider_of_the_device(device, provider, options, monkeypatch):
    asked = []
    real = onnxruntime.InferenceSession

    def session(data, settings, providers, **more):
        asked.append(providers)
        made = real(data, settings, providers=["CPUExecutionProvider"], **more)
        monkeypatch.setattr(made, "get_providers", lambda: [provider, "CPUExecutionProvider"])
        return made

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [provider, "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    scorer = load_fast("world.real", device, "onnx")
    assert asked == [[(provider, options), "CPUExecutionProvider"]]
    assert scorer.device == device
    assert scorer.to("auto") is scorer
    assert scorer.to(device) is scorer
    assert scorer.to("cpu").device == "cpu"


def test_a_wheel_without_the_provider_is_named(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ValueError, match=r"no CUDAExecutionProvider.*onnxruntime-gpu"):
        load_fast("world.real", "cuda", "onnx")
    with pytest.raises(ValueError, match=r"no CoreMLExecutionProvider"):
        load_fast("world.real", "coreml")
    with pytest.raises(ValueError, match="expected 'auto', 'cpu', 'cuda'"):
        onnx_scorer.provider_of("tpu")


def test_a_provider_that_does_not_start_is_told(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda *given, **named: real(*given, **named | {"providers": ["CPUExecutionProvider"]}),
    )
    with pytest.raises(ValueError, match="did not start"):
        load_fast("world.real", "cuda", "onnx")
