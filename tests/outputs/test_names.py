from pathlib import Path

import pytest

from sonomask.outputs.names import output_stem, output_stems


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("https://a.org/talk%3A%20part%2F1.mp4?x=1", "1"),
        ("https://a.org/talk%3A%20a%2A.mp4", "talk_ a_"),
        ("rtsp://camera.local/con.sdp", "_con"),
        ("s3://bucket/AUX.mp4", "_AUX"),
        ("s3://bucket/aux.2.mp4", "_aux.2"),
        ("s3://bucket/auxiliary.mp4", "auxiliary"),
        ("https://a.org/what%00.mp4", "what_"),
        ("https://a.org/end.%20.mp4", "end"),
        ("https://a.org/", "video"),
        ("2024-01-01 10:00.mp4", "2024-01-01 10:00"),  # a name that is there already can be there
        (".hidden.mp4", ".hidden"),
    ],
)
def test_the_name_of_an_address_is_one_that_any_system_takes(source, name):
    assert output_stem(source, "out") == Path("out") / name


@pytest.mark.parametrize(
    "sources",
    [
        ["A.mp4", "a.mp4"],
        ["caf\u00e9.mp4", "cafe\u0301.mp4"],
        ["x/A.mp4", "y/a.MP4", "z/a.mkv"],
        ["https://a.org/a.mp4", "https://b.org/A.mp4", "a_2.mp4"],
        ["a.mp4", "a.mp4", "a_2.mp4"],
    ],
)
def test_names_that_some_file_systems_take_for_one_are_told_apart(sources):
    stems = output_stems(sources, "out")
    plain = {str(stem).replace("e\u0301", "\u00e9").lower() for stem in stems}
    assert len(plain) == len(sources)
    assert all(stem.parent == Path("out") for stem in stems)
