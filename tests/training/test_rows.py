"""The recipes: every row still resolves to the values it had as a file of its own."""

import json
from functools import cache
from pathlib import Path

import pytest
import yaml

from sonomask.cli.main import main
from sonomask.training.rows import names, resolve, split

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns of CPUs and workers
ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "recipes").glob("*.yaml"))
BEFORE = json.loads((ROOT / "tests" / "golden" / "recipes.json").read_text())


@cache
def resolved():
    found = {}
    for file in FILES:
        rows = names(file)
        found |= {row: resolve(file, row) for row in rows} if rows else {file.stem: yaml.safe_load(file.read_text())}
    return found


def test_at_most_twelve_files_hold_all_recipes():
    assert len(FILES) <= 12
    assert set(BEFORE) <= set(resolved())


@pytest.mark.parametrize("name", BEFORE)
def test_a_recipe_resolves_to_the_values_it_had_as_a_file(name):
    assert resolved()[name] == BEFORE[name]


@pytest.mark.parametrize("name", BEFORE)
def test_a_recipe_names_a_model_and_options_that_exist(name):
    from sonomask.models.catalog import record_of

    model = resolved()[name]["model"]
    assert record_of(model["model"])


def test_a_word_is_split_into_file_and_row():
    assert split("recipes/avs.yaml:s4_resnet50_tpavi") == (Path("recipes/avs.yaml"), "s4_resnet50_tpavi")
    assert split("recipes/avs.yaml") == (Path("recipes/avs.yaml"), None)
    assert split("C:\\x.yaml")[1] is None


def test_a_wrong_row_is_answered_with_the_likely_ones():
    with pytest.raises(ValueError, match="Did you mean s4_resnet50_tpavi"):
        resolve(ROOT / "recipes" / "avs.yaml", "s4_resnet_tpavi")


@pytest.mark.parametrize(
    ("text", "says"), [("[1]", "expected a recipe"), ("a: [", "not a recipe"), (None, "no such recipe")]
)
def test_a_file_that_is_no_recipe_is_refused(text, says, tmp_path):
    file = tmp_path / "a.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=says):
        resolve(file, "x")


def test_the_command_trains_a_row(tmp_path, capsys):
    file = tmp_path / "small.yaml"
    file.write_text("""
base:
  model: {model: avs_mini, options: {fusion: none}}
  data:
    class_path: sonomask.data.datamodule.SyntheticDataModule
    init_args: {train: 4, val: 2, test: 2, size: 32, workers: 0}
  trainer: {max_steps: 1, limit_val_batches: 0, enable_progress_bar: false}
parts: {quick: {model: {learning_rate: 0.003}}}
rows: {one: [quick]}
""")
    assert main(["train", f"{file}:one", "--out", str(tmp_path / "run"), "--data.init_args.batch_size", "2"]) == 0
    used = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert used["model"]["learning_rate"] == 0.003
    assert used["model"]["options"] == {"fusion": "none"}
    assert used["data"]["init_args"]["batch_size"] == 2
    capsys.readouterr()
    for word, says in ((str(file), "expected one of its rows"), (str(tmp_path / "nosuch.yaml"), "no such recipe")):
        assert main(["train", word, "--out", str(tmp_path / "other")]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert says in line


def test_a_row_that_names_no_part_is_refused(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("{base: {}, parts: {}, rows: {x: [y], z: [z]}}")
    for row in "xz":
        with pytest.raises(ValueError, match="neither a part nor another row"):
            resolve(file, row)
