"""Broken and hostile files end in a result or in one line; `python benchmarks/hostile.py` has the report."""

import pytest

SAMPLE, WHOLE = 60, 2000


def broken(count, seed, sandbox=False):
    import corpus
    import hostile

    if count >= WHOLE:
        files = corpus.corpus(count, seed)
    else:  # every kind of hostile file counts more than another flipped byte
        made = list(corpus.made())
        files = [*made[:: max(1, 2 * len(made) // count)], *(corpus.mutant(i, seed) for i in range(count // 2))]
    return {name: row["ending"] for name, row in hostile.run(files, sandbox=sandbox) if row["bad"]}


def test_a_sample_of_hostile_files_ends_in_results_or_known_errors():
    assert broken(SAMPLE, seed=1) == {}


def test_hostile_files_end_alike_in_the_sandbox():
    assert broken(12, seed=2, sandbox=True) == {}


@pytest.mark.slow
def test_two_thousand_hostile_files_end_in_results_or_known_errors():
    assert broken(WHOLE, seed=0) == {}


def test_the_same_seed_makes_the_same_files():
    import corpus

    assert [corpus.mutant(i, 3) for i in range(20)] == [corpus.mutant(i, 3) for i in range(20)]
    assert corpus.mutant(0, 3) != corpus.mutant(0, 4)


def test_a_list_of_other_files_is_not_followed(tmp_path, make_video):
    from sonomask.errors import MediaError
    from sonomask.media.reader import VideoReader

    make_video("secret.mp4", tone=None).rename(tmp_path / "secret.mp4")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:5,\nsecret.mp4\n#EXT-X-ENDLIST\n")
    for name, says in (("list.mp4", "can't be opened"), ("list.m3u8", "a playlist, which would open other files")):
        with pytest.raises(MediaError, match=says):
            VideoReader(tmp_path / name)
