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
    "a class that doubles": (TWICE + b")\x81.", "NEWOBJ class"),
    "nests": (b"}" + NESTS + b"Ns.", "exhaust"),
    "a memo of any size": (b"Nr\xff\xff\xff\x7f.", "exhaust"),
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
