import pytest

from sonomask.errors import DatasetError
from sonomask.safe_reading import tables
from sonomask.safe_reading.tables import inside, read_rows, read_table


def test_rows_have_the_names_of_the_first_line(tmp_path):
    (tmp_path / "t.csv").write_text("\ufeffname, split,\na,train,x,y\n\nb\n", encoding="utf-8")
    assert read_table(tmp_path / "t.csv") == [{"name": "a", "split": "train"}, {"name": "b", "split": ""}]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'"' + b"x" * 200_000, b"a\0b\n\xe9"])
def test_what_is_no_table_is_refused_by_its_name(content, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=r"t\.csv"):
        read_rows(tmp_path / "t.csv")


def test_a_table_without_end_is_refused(tmp_path):
    with (tmp_path / "t.csv").open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(DatasetError, match="larger"):
        read_rows(tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "/etc/passwd", "link", "linked/secret", "a\0b"])
def test_what_leads_out_of_the_folder_is_refused(name, tmp_path):
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "linked").symlink_to(tmp_path)
    with pytest.raises(DatasetError, match=r"Put the file|Correct it"):
        inside(root, name)


def test_a_link_that_stays_inside_and_a_linked_folder_are_fine(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").write_text("")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "root" / "file")
    (tmp_path / "short").symlink_to(tmp_path / "root")
    assert inside(tmp_path / "short", "link").is_file()


@pytest.mark.parametrize("text", ["\n" * 60, ",,,,,,\n" * 10, ",".join(f"a{i}" for i in range(20)) + "\n" + "1\n" * 9])
def test_a_table_with_more_cells_than_letters_is_refused(text, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_CELLS", 50)  # a real one of 80 KB takes 2 GB
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DatasetError, match="at most 50 cells"):
        read_table(tmp_path / "t.csv")
