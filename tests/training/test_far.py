"""Training beyond one process and beyond one sitting."""

import copy
import csv
import os
import shutil
import socket
import subprocess
import sys

import pytest
import torch

from sonomask.data.drawn.world import SyntheticScenes
from sonomask.data.shards import write_shards
from sonomask.training import recipes as cli
from sonomask.training.module import AVSModule

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns of CPUs, workers and arguments

RECIPE = """
model: {model: avs_mini, options: {fusion: add}, learning_rate: 0.0001, freeze_norms: true}
data:
  class_path: sonomask.data.sharded.ShardsDataModule
  init_args: {root: ROOT, batch_size: 4, workers: 0}
trainer: {enable_progress_bar: false, log_every_n_steps: 1, max_epochs: 2, accelerator: cpu, limit_val_batches: 0}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    root = tmp_path_factory.mktemp("far")
    write_shards(SyntheticScenes(10, size=(32, 32)), root / "train", clips=2)
    write_shards(SyntheticScenes(2, size=(32, 32), split="val"), root / "val")
    (root / "recipe.yaml").write_text(RECIPE.replace("ROOT", str(root)))
    return str(root / "recipe.yaml")


def weights(folder):
    return torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]


def losses(folder):
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    return {int(r["step"]): float(r["train/loss"]) for r in rows if r.get("train/loss")}


def test_accumulated_gradients_take_the_steps_of_the_whole_batch(recipe, tmp_path, monkeypatch):
    """Of batches 4, 4, 2. By SGD: Adam makes whole steps of the rounding of gradients that are almost 0."""
    start = {}
    monkeypatch.setattr(AVSModule, "on_fit_start", lambda self: start.update(copy.deepcopy(self.state_dict())))
    half = ["--data.init_args.batch_size", "2", "--trainer.accumulate_grad_batches", "2"]
    plain = ["--model.optimizer", "sgd", "--model.learning_rate", "0.01", "--trainer.max_epochs", "1"]
    for name, options in (("whole", []), ("half", half)):
        cli.train([recipe, *plain, *options, "--out", str(tmp_path / name)])
    one, two = (flat(weights(tmp_path / name)) for name in ("whole", "half"))
    assert (one - two).norm() < 1e-3 * (
        one - flat(start)
    ).norm()  # of a wrongly weighted last group: 0.1; of rounding: 1e-5


def flat(tensors):
    return torch.cat([value.flatten().double() for key, value in sorted(tensors.items())])


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize("more", [[], ["--trainer.accumulate_grad_batches", "2", "--data.init_args.batch_size", "2"]])
def test_a_run_stopped_within_an_epoch_goes_on_as_if_it_had_not_been(more, recipe, tmp_path, monkeypatch):
    def cut(module, *_):
        if module.global_step == 2:
            raise PowerCutError

    cli.train([recipe, *more, "--out", str(tmp_path / "whole")])
    with monkeypatch.context() as patch:
        patch.setattr(AVSModule, "on_before_zero_grad", cut)
        with pytest.raises(PowerCutError):
            cli.train([recipe, *more, "--checkpoint_every", "1", "--out", str(tmp_path / "broken")])
    assert torch.load(tmp_path / "broken" / "last.ckpt", weights_only=True)["global_step"] == 2
    cli.train([recipe, *more, "--resume", "true", "--out", str(tmp_path / "broken")])
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(one[key], two[key]) for key in one)


def torchrun(recipe, out, node, address, port, before=(), more=()):
    launch = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(node)]
    meet = ["--master-addr", address, "--master-port", str(port), "-m", "sonomask.cli.main", "train", recipe]
    share = ["--trainer.num_nodes", "2", "--trainer.devices", "1", "--trainer.strategy", "ddp"]
    words = [
        *before,
        sys.executable,
        *launch,
        *meet,
        *share,
        "--data.init_args.batch_size",
        "2",
        "--out",
        str(out),
        *more,
    ]
    return subprocess.Popen(words, env=os.environ | {"OMP_NUM_THREADS": "1"})


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_two_nodes_on_loopback_train_to_the_same_weights_and_share_the_clips(recipe, tmp_path):
    port = free_port()
    nodes = [torchrun(recipe, tmp_path / f"node{n}", n, "127.0.0.1", port) for n in range(2)]
    assert [node.wait(600) for node in nodes] == [0, 0]
    saved = torch.load(tmp_path / "node0" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2 * 2  # of five shards of two clips, two for each of two processes
    assert len(losses(tmp_path / "node0")) == 4


def namespaces():
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("ip") is not None


@pytest.mark.slow
@pytest.mark.skipif(not namespaces(), reason="network namespaces need root and `ip`")
def test_two_nodes_in_network_namespaces_of_their_own_train_together(recipe, tmp_path):
    names = [f"sonomask{os.getpid()}{side}" for side in "ab"]
    ip = lambda *words: subprocess.run(["ip", *words], check=True)  # noqa: E731
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "sm0", "netns", names[0], "type", "veth", "peer", "name", "sm0", "netns", names[1])
        for number, name in enumerate(names):
            ip("-n", name, "addr", "add", f"10.213.7.{number + 1}/24", "dev", "sm0")
            ip("-n", name, "link", "set", "sm0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        nodes = [
            torchrun(
                recipe, tmp_path / f"node{n}", n, "10.213.7.1", 29_511,
                before=["ip", "netns", "exec", name, "env", "GLOO_SOCKET_IFNAME=sm0"], more=["--trainer.max_epochs", "1"],
            )
            for n, name in enumerate(names)
        ]  # fmt: skip
        assert [node.wait(600) for node in nodes] == [0, 0]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)
    assert torch.load(tmp_path / "node0" / "last.ckpt", weights_only=True)["global_step"] == 2
