"""Data come back as data.dvc records them, or there is one sentence on what differs; nothing is rewritten."""

import shutil
from pathlib import Path

import pytest

from tests.problems.yours import commit, run

MONTH = "data/2013-03.csv"


def refused(folder: Path, *command: str) -> str:
    """The sentence with which a command ends with exit code 2."""
    done = run(folder, *command, check=False)
    assert done.returncode == 2, done.stderr
    (sentence,) = (line for line in done.stderr.splitlines() if line.startswith("ml: "))
    return sentence


def change(folder: Path) -> bytes:
    """Change one digit by hand."""
    file = folder / MONTH
    content = file.read_bytes()
    spoilt = content.replace(b"false\n", b"true\n", 1)
    assert spoilt != content
    file.write_bytes(spoilt)
    return content


def test_data_come_back_from_dvc_s_cache(copy_of_yours: Path) -> None:
    content = (copy_of_yours / MONTH).read_bytes()
    shutil.rmtree(copy_of_yours / "data")
    assert "from DVC's cache" in run(copy_of_yours, "ml", "restore").stderr
    assert (copy_of_yours / MONTH).read_bytes() == content


def test_without_remote_and_cache_data_come_back_from_the_source_and_fill_what_is_missing(
    copy_of_yours: Path,
) -> None:
    content = (copy_of_yours / MONTH).read_bytes()
    shutil.rmtree(copy_of_yours / ".dvc/cache")
    (copy_of_yours / MONTH).unlink()
    assert "from the source" in run(copy_of_yours, "ml", "restore").stderr
    assert (copy_of_yours / MONTH).read_bytes() == content


def test_data_changed_by_hand_are_refused_and_neither_they_nor_data_dvc_are_rewritten(
    copy_of_yours: Path,
) -> None:
    recorded = (copy_of_yours / "data.dvc").read_bytes()
    content = change(copy_of_yours)
    said = refused(copy_of_yours, "ml", "reproduce")
    assert "data/ differs from data.dvc (2013-03.csv has changed)" in said
    assert "`rm -r data && ml restore`" in said and "`dvc add data`" in said
    assert (copy_of_yours / "data.dvc").read_bytes() == recorded
    assert (copy_of_yours / MONTH).read_bytes() != content

    shutil.rmtree(copy_of_yours / "data")  # the first way out
    run(copy_of_yours, "ml", "restore")
    assert (copy_of_yours / MONTH).read_bytes() == content

    change(copy_of_yours)  # the second
    run(copy_of_yours, "dvc", "add", "--quiet", "data")
    run(copy_of_yours, "ml", "restore")


def test_a_source_that_says_something_else_than_before_is_refused(copy_of_yours: Path) -> None:
    shutil.rmtree(copy_of_yours / "data")
    shutil.rmtree(copy_of_yours / ".dvc/cache")
    source = copy_of_yours / "pipelines/problem/source.py"
    source.write_text(source.read_text().replace('seen["temp"]', 'seen["temp"] + 1'))
    assert "data/ differs from data.dvc (6 files whose hashes do not add up" in refused(
        copy_of_yours, "ml", "restore"
    )


def test_a_remote_is_asked_first_and_one_that_fails_is_an_error(copy_of_yours: Path, tmp_path: Path) -> None:
    run(copy_of_yours, "dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    run(copy_of_yours, "dvc", "push", "--quiet", "data.dvc")
    shutil.rmtree(copy_of_yours / "data")
    shutil.rmtree(copy_of_yours / ".dvc/cache")
    assert "from the DVC remote 'storage'" in run(copy_of_yours, "ml", "restore").stderr
    assert (copy_of_yours / MONTH).is_file()

    shutil.rmtree(copy_of_yours / "data")
    shutil.rmtree(copy_of_yours / ".dvc/cache")
    shutil.rmtree(tmp_path / "storage")
    assert "the DVC remote 'storage' did not bring data/" in refused(copy_of_yours, "ml", "restore")


def test_data_that_nobody_tracks_yet_are_asked_for(copy_of_yours: Path) -> None:
    (copy_of_yours / "data.dvc").unlink()
    assert "data.dvc does not exist: make the data with `ml ingest`" in refused(
        copy_of_yours, "ml", "reproduce"
    )


def test_a_bad_month_that_was_added_is_refused_with_the_stage_s_sentence(copy_of_yours: Path) -> None:
    lock = (copy_of_yours / "dvc.lock").read_bytes()
    with (copy_of_yours / MONTH).open("ab") as file:
        file.write(b"half a ro")
    run(copy_of_yours, "dvc", "add", "--quiet", "data")
    assert "data/2013-03.csv is cut off" in refused(copy_of_yours, "ml", "reproduce")
    assert (copy_of_yours / "dvc.lock").read_bytes() == lock


def test_a_committed_lock_of_other_params_is_refused_where_ci_asks(copy_of_yours: Path) -> None:
    params = copy_of_yours / "params.yaml"
    params.write_text(params.read_text().replace("seed: 7", "seed: 8"))
    commit(copy_of_yours, "another seed, without its lock")
    said = refused(copy_of_yours, "ml", "reproduce", "--locked")
    assert "dvc.lock is not of this commit's inputs (params.yaml: train.seed)" in said
    assert "dvc.lock has changed with params.yaml: train.seed" in run(copy_of_yours, "ml", "reproduce").stderr
    commit(copy_of_yours, "its lock")
    assert "everything is as dvc.lock says" in run(copy_of_yours, "ml", "reproduce", "--locked").stderr


@pytest.mark.parametrize("wrong", ["sede: 7", "seed: seven"])
def test_a_typo_in_params_stops_a_stage_with_its_sentence(copy_of_yours: Path, wrong: str) -> None:
    params = copy_of_yours / "params.yaml"
    params.write_text(params.read_text().replace("seed: 7", wrong))
    assert "params.yaml: train.se" in refused(copy_of_yours, "ml", "train")
