"""Which worker gets which GPU, told without having one."""

import pytest
import torch

from sonomask.batch import cluster, local


@pytest.fixture
def cards(monkeypatch):
    def have(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return have


@pytest.mark.parametrize(
    ("name", "count", "workers", "got"),
    [
        ("auto", 3, 5, ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]),
        ("cuda", 2, 2, ["cuda:0", "cuda:1"]),
        ("cuda:1", 2, 2, ["cuda:1", "cuda:1"]),
        ("auto", 0, 2, ["auto", "auto"]),
        ("cpu", 2, 2, ["cpu", "cpu"]),
        ("coreml", 0, 2, ["coreml", "coreml"]),
    ],
)
def test_the_workers_of_one_machine_share_its_gpus(name, count, workers, got, cards):
    cards(count)
    assert local._devices(name, workers) == got


def test_a_gpu_that_is_not_there_is_told(cards):
    cards(0)
    with pytest.raises(ValueError, match="expected 'auto' or one that is here"):
        local._devices("cuda", 2)


@pytest.mark.parametrize(
    ("have", "device", "models", "got"),
    [
        ({"CPU": 16, "GPU": 4}, "auto", 0, (True, 4, 15)),  # an actor on each
        ({"CPU": 16, "GPU": 4}, "cuda", 2, (True, 2, 15)),
        ({"CPU": 16, "GPU": 4}, "cpu", 2, (False, 2, 14)),
        ({"CPU": 16}, "auto", 0, (False, 8, 10)),
    ],
)
def test_a_cluster_has_an_actor_on_each_gpu(have, device, models, got):
    assert cluster._shares(have, device, models, 0) == got


def test_more_actors_than_gpus_are_refused():
    with pytest.raises(ValueError, match="a GPU for each of --models"):
        cluster._shares({"CPU": 16, "GPU": 1}, "cuda", 2, 0)
