"""What programs read says which form it has, and has that form."""

import json
from pathlib import Path

import jsonschema
import pytest

import sonomask
from sonomask.schemas import SCHEMAS, schema

ROOT = Path(__file__).parents[1]
MADE = {"masks": "manifest", "jsonl": "mask", "coco": "coco", "coco-polygons": "coco", "ytvis": "ytvis",
        "avsbench": "avsbench", "otio": "otio"}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    video, out = ROOT / "examples" / "three_things.mp4", tmp_path_factory.mktemp("made")
    return sonomask.segment(video, out, "avs_mini.synthetic", formats=list(MADE), rate=1).files


def read(name, path):
    def load(*parts):
        return json.loads(path.joinpath(*parts).read_text(encoding="utf-8"))

    if name == "masks":
        return load("manifest.json")
    if name == "coco":
        return load("labels.json")["info"]
    if name == "coco-polygons":
        return load("annotations", "instances_default.json")["info"]
    if name == "ytvis":
        return load("instances.json")["info"]
    if name == "avsbench":
        return load("made_by.json")
    if name == "otio":
        return load()["tracks"]["children"][0]["children"][0]["metadata"]["sonomask"]
    return json.loads(path.read_text(encoding="utf-8").splitlines()[-1])


@pytest.mark.parametrize("name", MADE)
def test_what_segment_writes_is_of_its_schema_and_says_what_made_it(name, results, conforms):
    found = read(name, results[name])
    conforms(MADE[name], found)
    facts = found["about"] if name == "masks" else found
    assert facts["schema"] == schema(MADE[name])
    assert facts["model"] == "avs_mini.synthetic"
    assert facts["sonomask"] == sonomask.__version__
    assert len(facts["weights"]) == 12


def test_other_weights_have_another_hash():
    from sonomask.inference.loading import load_fast

    names = ["avs_mini.synthetic", "world.real", "world_duo.real"]
    found = [load_fast(name).origin for name in names]
    assert [origin.name for origin in found] == names
    assert len({origin.weights for origin in found}) == 3
    assert load_fast(names[0], backend="torch").origin.name == names[0]


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_in_the_docs_and_names_its_version(name):
    body = json.loads((ROOT / "docs" / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(body)
    assert body["$id"] == schema(name)
    assert schema(name) in json.dumps(body["properties"])
    assert schema(name) in (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")


def test_a_result_of_another_form_is_told_apart(results, conforms):
    manifest = read("masks", results["masks"])
    del manifest["about"]["weights"]
    with pytest.raises(jsonschema.ValidationError, match="weights"):
        conforms("manifest", manifest)
