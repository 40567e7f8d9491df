"""`sonomask batch` as a user meets it; with processes, Ray and an object store."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sonomask.cli.main import main

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools on numpy 2
MODEL = ["--model", "avs_mini.synthetic", "--device", "cpu"]


def files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.suffix != ".part"}


def command(*words):
    return [sys.executable, "-m", "sonomask.cli.main", "batch", *map(str, words), *MODEL]


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    assert main(["batch", str(corpus), "--out", str(out), "--workers", "1", "--shard-size", "2", *MODEL]) == 1
    return out


def test_one_command_gives_a_row_for_each_video_and_the_second_finds_all_done(corpus, whole, capsys, conforms):
    table = pq.read_table(whole / "manifest").to_pylist()
    assert sorted(row["video"] for row in table) == sorted(str(p) for p in corpus.iterdir())
    assert {row["status"] for row in table if "nonsense" not in row["video"]} == {"done"}
    assert pq.read_table(whole / "masks").num_rows == sum(row["frames"] for row in table) > 4
    before = files(whole)
    assert main(["batch", str(corpus), "--out", str(whole), *MODEL]) == 1
    assert "0 videos done, 0 failed, 5 were there (1 of them failed)" in capsys.readouterr().out
    assert files(whole) == before
    shards = pq.read_table(whole / "contents.parquet").to_pylist()
    assert (sum(s["videos"] for s in shards), sum(s["failed"] for s in shards)) == (5, 1)
    assert sum(s["frames"] for s in shards) == pq.read_table(whole / "masks").num_rows
    assert all((whole / "masks" / f"part={s['part']}" / f"{s['shard']}.parquet").is_file() for s in shards)
    about = json.loads(before["run.json"])
    conforms("corpus", about)
    assert about["model"] == "avs_mini.synthetic"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--slice", "x"], "slice"),
        (["--rate", "0"], "rate"),
        (["--timeout", "0"], "timeout"),
        (["--shard-size", "0"], "shard size"),
    ],
)
def test_a_wrong_word_costs_one_line_and_code_two(words, says, corpus, tmp_path, capsys):
    assert main(["batch", str(corpus), "--out", str(tmp_path), *MODEL, *words]) == 2
    assert says in capsys.readouterr().err


def test_names_of_what_is_heard_and_marked_stand_in_each_row(tmp_path):
    words = ["--model", "world.real", "--rate", "1", "--workers", "1", "--format", "parquet", "jsonl"]
    assert main(["batch", str(ROOT / "examples" / "friday.mp4"), "--out", str(tmp_path), *words]) == 0
    rows = pq.read_table(tmp_path / "masks").to_pylist()
    assert all(sum(thing["area"] for thing in row["things"]) <= row["area"] for row in rows)
    assert {thing["name"] for row in rows for thing in row["things"]} == {"person"}
    assert "Speech" in {sound["name"] for row in rows for sound in row["heard"]}
    (video,) = pq.read_table(tmp_path / "manifest").to_pylist()
    assert video["things"] == ["person"]
    (line,) = [json.loads(text) for path in tmp_path.glob("jsonl/*/*.jsonl") for text in path.read_text().splitlines()]
    assert [mask["things"] for mask in line["masks"]] == [row["things"] for row in rows]


def test_duckdb_reads_the_tables_by_the_documented_line(whole):
    duckdb = pytest.importorskip("duckdb")
    line = next(line for line in (ROOT / "docs" / "corpus.md").read_text().splitlines() if "read_parquet" in line)
    (rows,) = [duckdb.sql(line.strip().replace("OUT", str(whole))).fetchall()]
    masks = pq.read_table(whole / "masks").num_rows
    assert sum(count for _, count in rows) == masks > 0
    assert len(rows) == 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_and_started_again_it_gives_the_files_of_one_run(seed, corpus, whole, tmp_path):
    draw, words = random.Random(seed), command(corpus, "--out", tmp_path, "--workers", "2", "--shard-size", "2")
    for _ in range(4):
        process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL)
        time.sleep(draw.uniform(2, 20))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert subprocess.run(words, check=False).returncode == 1
    assert files(tmp_path) == files(whole)


@pytest.mark.slow
def test_an_object_store_gives_and_takes(corpus, whole, monkeypatch):
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for key, value in keys.items():
        monkeypatch.setenv(key, value)
    store = s3fs.S3FileSystem(endpoint_url=keys["AWS_ENDPOINT_URL"])
    store.mkdir("bucket")
    store.put(str(corpus) + "/", "bucket/in/", recursive=True)
    words = command("s3://bucket/in/*.mp4", "--out", "s3://bucket/out", "--workers", "1", "--shard-size", "2")
    again = [subprocess.run(words, check=False, capture_output=True, text=True) for _ in range(2)]
    assert "5 were there" in again[1].stdout, again[0].stderr
    other = subprocess.run([*words, "--rate", "0.5"], check=False, capture_output=True, text=True)
    assert other.returncode == 2
    assert "made with other options" in other.stderr
    twice = [word.replace("bucket/out", "bucket/twice") for word in words]
    both = [subprocess.Popen(twice, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert {process.wait() for process in both} <= {1, 2}  # one of them is refused, or comes when all is done
    store.invalidate_cache()
    names = store.find("bucket/twice/manifest")
    done = [video for name in names for video in pq.read_table(store.open(name))["video"].to_pylist()]
    assert len(done) == len(set(done)) == 5
    store.invalidate_cache()
    rows = [row for name in store.find("bucket/out/manifest") for row in pq.read_table(store.open(name)).to_pylist()]
    server.stop()
    here = {row["video"].rsplit("/")[-1]: row["sha256"] for row in pq.read_table(whole / "manifest").to_pylist()}
    assert {row["video"].rsplit("/")[-1]: row["sha256"] for row in rows} == here


RAY = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}


@pytest.mark.slow
def test_ray_gives_the_files_of_the_local_engine(corpus, whole, tmp_path):
    words = command(corpus, "--out", tmp_path, "--engine", "ray", "--shard-size", "2")
    assert subprocess.run(words, check=False, env=RAY).returncode == 1
    assert files(tmp_path) == files(whole)


@pytest.mark.slow
def test_ray_killed_and_started_again_gives_the_files_of_one_run(corpus, whole, tmp_path):
    words = command(corpus, "--out", tmp_path, "--engine", "ray", "--shard-size", "2")
    process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, env=RAY)
    while process.poll() is None and not list(tmp_path.glob("manifest/*/*.parquet")):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert subprocess.run(words, check=False, env=RAY).returncode == 1
    assert files(tmp_path) == files(whole)


NODES = """
import os, signal, sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
from sonomask.cli.main import main

which, source, out, *more = sys.argv[1:]
node = {"num_cpus": 2, "object_store_memory": 10**8, "node_ip_address": "127.0.0.2"}  # of 127.0.0.1 Ray makes another address
cluster = Cluster(initialize_head=True, head_node_args={**node, "num_cpus": 0, "include_dashboard": False})
nodes = [cluster.add_node(**node) for _ in range(2)]
cluster.connect()

def name(pid):
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return b""

def workers():  # of this cluster: their raylets are our children
    parents = {int(p.name): int(p.joinpath("stat").read_text().rpartition(")")[2].split()[1])
               for p in Path("/proc").iterdir() if p.name.isdecimal() and p.joinpath("stat").exists()}
    return [pid for pid, parent in parents.items() if parents.get(parent) == os.getpid() and name(pid).startswith(b"ray::")]

def kill():
    while not (written := list(Path(out, "manifest").glob("*/*.parquet"))):
        time.sleep(0.05)
    if which == "worker":
        os.kill(next(pid for pid in workers() if b"MapWorker" in name(pid)), signal.SIGKILL)
    else:
        cluster.remove_node(nodes[int(which)], allow_graceful=False)
    print(f"KILLED after {len(written)} shards", flush=True)

threading.Thread(target=kill, daemon=True).start()
sys.exit(main(["batch", source, "--out", out, "--engine", "ray", "--models", "1", "--shard-size", "2", *more]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1, "worker"])  # the model is on one of the two nodes; a worker has it
def test_a_node_or_a_worker_that_dies_in_the_middle_costs_no_video(which, corpus, tmp_path):
    many = tmp_path / "many"
    for i in range(8):
        shutil.copytree(corpus, many / str(i))
    words = [sys.executable, "-c", NODES, str(which), f"{many}/*/*", str(tmp_path / "ray"), *MODEL]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=RAY)
    assert re.search(r"KILLED after \d shards", done.stdout), done.stderr  # of twenty
    assert main(["batch", f"{many}/*/*", "--out", str(tmp_path / "here"), "--shard-size", "2", *MODEL]) == 1
    assert files(tmp_path / "ray") == files(tmp_path / "here")


HEAD = """
import sys
from ray.cluster_utils import Cluster

node = {"num_cpus": 2, "object_store_memory": 10**8, "node_ip_address": "127.0.0.2", "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=node)
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


@pytest.mark.slow
def test_a_head_that_dies_stops_the_run_and_with_another_it_goes_on(corpus, tmp_path):
    many, out = tmp_path / "many", tmp_path / "ray"
    for i in range(8):
        shutil.copytree(corpus, many / str(i))
    environment = RAY | {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}

    def run(head):
        words = command(f"{many}/*/*", "--out", out, "--engine", "ray", "--models", "1", "--shard-size", "2")
        return subprocess.Popen(words, env=environment | {"RAY_ADDRESS": head.stdout.readline().strip()})

    def start():
        return subprocess.Popen([sys.executable, "-c", HEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                env=environment)  # fmt: skip

    with start() as head:
        first = run(head)
        while first.poll() is None and not list(out.glob("manifest/*/*.parquet")):
            time.sleep(0.05)
        assert first.poll() is None
        head.communicate("end\n", timeout=120)
        assert first.wait(300) != 0  # Ray ends the process
    before = files(out)
    assert len([name for name in before if name.startswith("manifest")]) < 20
    with start() as head:
        assert run(head).wait(600) == 1
        head.communicate("end\n", timeout=120)
    assert main(["batch", f"{many}/*/*", "--out", str(tmp_path / "here"), "--shard-size", "2", *MODEL]) == 1
    assert files(out) == files(tmp_path / "here")
