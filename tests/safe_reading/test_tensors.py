"""Files of `torch.save`, and programs that would hang, fill or crash whoever reads them."""

import io
import pickle
import zipfile

import pytest
import torch

from sonomask.errors import DatasetError, WeightsError
from sonomask.inference.maskige import MaskRCNN
from sonomask.safe_reading.pickled_logmel import read_logmel
from sonomask.safe_reading.tensors import load_tensors

NESTS = b")" + b"\x85" * 300_000  # tuples in one another: to hash them overflows the stack
TWICE = b"X\x01\x00\x00\x00a" + b"2\x86" * 60  # a pair of pairs of …: 2 to the 60th when printed
HOSTILE = {
    "a long name": (b"ctorch\n" + b"e" * 100_000 + b"\n.", "a name of 100005 characters"),
    "a long method": (b"X\xa0\x86\x01\x00" + b"e" * 100_000 + b")R.", "not callable"),
    "a value that doubles": (TWICE + b")R.", "not callable"),
    "a class that doubles": (TWICE + b")\x81.", "calling a tuple"),
    "nests": (b"}" + NESTS + b"Ns.", "exhaust"),
    "a key whose hash takes for ever": (b"}" + TWICE + b"Ns.", "tuple as a key"),
    "memory by a number": (b"c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x00\x02\x85R.", "__builtin__.bytearray"),
    "memory by a length": (b"\x8e" + (2**40).to_bytes(8, "little") + b"a.", "but only"),
    "memory by a length, changeable": (b"\x96" + (2**40).to_bytes(8, "little") + b"a.", "but only"),
    "a program to run": (b"cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", "os.system"),
    "numbers that are not there": (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu\x8a\x06\x00\x00\x00\x00\x00\x01tQ.",
        "promises|breaks off",
    ),
    "a state for a list": (b"]}b.", "setting the state of a list"),
    "what was not made": (b"0.", "breaks off|did not make"),
    "no program": (b"<html>", "opcode"),
}


def archive(program, path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02" + program)
        file.writestr("a/version", "3")


def old(program, path):
    heads = [pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join(heads) + b"\x80\x02" + program)


@pytest.mark.parametrize("write", [archive, old])
@pytest.mark.parametrize(("program", "says"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_program_made_to_exhaust_the_reader_is_refused_at_once(write, program, says, tmp_path):
    write(program, tmp_path / "a.pth")
    with pytest.raises(Exception, match=says) as error:
        load_tensors(tmp_path / "a.pth")
    assert len(str(error.value)) < 500


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", bytes(2**24))
    with pytest.raises(ValueError, match="unpacks to"):
        load_tensors(tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="unpacks to"):
        MaskRCNN(tmp_path / "a.pth")


@pytest.mark.parametrize("new", [True, False])
def test_what_torch_saves_comes_back(new, tmp_path):
    saved = {"model": torch.nn.Conv2d(1, 2, 3).state_dict(), "optimiser": torch.nn.Parameter(torch.ones(2)), "epoch": 3}
    torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    for source in (tmp_path / "a.pth", io.BytesIO((tmp_path / "a.pth").read_bytes())):
        found = load_tensors(source)
        torch.testing.assert_close(found, saved)


@pytest.mark.parametrize("program", [b"}" + NESTS + b"Ns.", TWICE + b")R."])
def test_a_log_mel_pickle_that_nests_without_end_is_refused(program, tmp_path):
    (tmp_path / "a.pkl").write_bytes(program)
    with pytest.raises(DatasetError):
        read_logmel(tmp_path / "a.pkl")


def test_a_log_mel_pickle_whose_storage_has_an_endless_name_is_refused(tmp_path):
    content = bytearray(pickle.dumps(torch.zeros(2, 1, 96, 64)))
    place = content.index(b"FloatStorage\n")
    content[place : place + 13] = b"e" * 13  # found by fuzzing: the name went on to the end, torch searched it for 28 s
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(DatasetError) as error:
        read_logmel(tmp_path / "a.pkl")
    assert "no newline" in str(error.value.__cause__)


def renamed(source, target, names):
    """An archive whose entries have other names."""
    with zipfile.ZipFile(source) as read, zipfile.ZipFile(target, "w") as write:
        for entry in read.infolist():
            write.writestr(names.get(entry.filename.partition("/")[2], entry.filename), read.read(entry))


@pytest.mark.parametrize("name", ["a/DATA.PKL", "a/data.pkl.", "A/Data.Pkl", "a/data/data.pkl2"])
def test_a_program_under_a_name_that_another_reader_finds_is_not_run(name, tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth")
    renamed(tmp_path / "a.pth", tmp_path / "b.pth", {"data.pkl": name})
    with pytest.raises(ValueError, match=r"0 programs named data\.pkl"):
        load_tensors(tmp_path / "b.pth")


def test_an_archive_with_two_programs_is_refused(tmp_path):
    archive(b"N.", tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth", "a") as file:
        file.writestr("b/data.pkl", b"N.")
    with pytest.raises(ValueError, match="2 programs"):
        load_tensors(tmp_path / "a.pth")


def tensor_of(size, stride, *, again=1):
    """A program that makes tensors of any size over two numbers."""
    numbers = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ"
    words = b"".join(b"(" + b"".join(b"J" + n.to_bytes(4, "little") for n in row) + b"t" for row in (size, stride))
    one = b"ctorch._utils\n_rebuild_tensor_v2\n(" + numbers + b"K\x00" + words + b"\x89}tR"
    return b"(" + one * again + b"l."


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (tensor_of((2**30,), (0,)), "larger than its numbers"),  # one number, seen a thousand million times
        (tensor_of((2, 2), (1, 1)), "larger than its numbers"),
        (tensor_of((1,), (2**30,)), None),
        (tensor_of((3,), (1,)), "larger than its numbers"),
        (tensor_of((2,), (2,)), "larger than its numbers"),
    ],
)
def test_a_tensor_has_no_more_numbers_than_there_are(program, says, tmp_path):
    archive(program, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth", "a") as file:
        file.writestr("a/data/0", bytes(8))
    if says is None:
        assert [value.shape for value in load_tensors(tmp_path / "a.pth")] == [(1,)]
    else:
        with pytest.raises(ValueError, match=says):
            load_tensors(tmp_path / "a.pth")


def test_tensors_that_share_their_numbers_do_not_add_up_without_end(tmp_path):
    half = 2**18
    one = tensor_of((half,), (1,)).removeprefix(b"(").removesuffix(b"l.").replace(b"K\x02tQ", b"J\x00\x00\x04\x00tQ")
    archive(b"(" + one * 40 + b"l.", tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth", "a") as file:
        file.writestr("a/data/0", bytes(4 * half))
    with pytest.raises(ValueError, match="far larger than itself"):
        load_tensors(tmp_path / "a.pth")


def test_every_kind_of_number_and_tied_layers_come_back(tmp_path):
    kinds = (
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
    )
    tied = torch.arange(6.0).reshape(2, 3)
    saved = {str(kind): torch.arange(5).to(kind) for kind in kinds} | {
        "flags": torch.tensor([True, False]), "tied": tied, "turned": tied.T, "part": tied[1:], "none": torch.empty(0, 3),
        "size": tied.shape, "number": torch.tensor(2.5), 3: ["a", None, (1, 2.5, True)],
    }  # fmt: skip
    for new in (True, False):
        torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
        found = load_tensors(tmp_path / "a.pth")
        assert found[3] == saved[3]
        assert tuple(found.pop("size")) == tied.shape
        for name, value in found.items():
            if name != 3:
                torch.testing.assert_close(value, saved[name])
        assert found["tied"].data_ptr() == found["turned"].data_ptr()


def test_the_ordered_tables_of_python_2_come_back(tmp_path):
    archive(b"ccollections\nOrderedDict\n(((X\x01\x00\x00\x00aK\x01l(X\x01\x00\x00\x00bK\x02lltR.", tmp_path / "a.pth")
    assert load_tensors(tmp_path / "a.pth") == {"a": 1, "b": 2}


def test_a_file_cut_anywhere_is_refused():
    for new in (True, False):
        sink = io.BytesIO()
        torch.save({"a": torch.ones(9), "b": torch.zeros(3)}, sink, _use_new_zipfile_serialization=new)
        whole = sink.getvalue()
        for end in range(0, len(whole), 7):
            with pytest.raises(Exception, match=r".") as error:
                load_tensors(io.BytesIO(whole[:end]))
            assert isinstance(error.value, ValueError | zipfile.BadZipFile | EOFError)
