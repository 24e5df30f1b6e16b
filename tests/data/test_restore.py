"""Data come back as data.dvc records them, or there is one sentence on what differs; nothing is rewritten."""

import hashlib
import shutil
from pathlib import Path

import pytest

from pipelines.core import tables
from tests.problems.yours import commit, run

MONTH = "data/2013-03.parquet"


def refused(folder: Path, *command: str) -> str:
    """The sentence with which a command ends with exit code 2."""
    done = run(folder, *command, check=False)
    assert done.returncode == 2, done.stderr
    (sentence,) = (line for line in done.stderr.splitlines() if line.startswith("ml: "))
    return sentence


def change(folder: Path) -> bytes:
    """Change one value by hand, which leaves a file that can be read."""
    file = folder / MONTH
    content = file.read_bytes()
    table = tables.read(file)
    tables.write(file, table.assign(wind_speed=table["wind_speed"] + 1))
    assert file.read_bytes() != content
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
    assert "data/ differs from data.dvc (2013-03.parquet has changed)" in said
    assert "`rm -r data && ml restore`" in said and "`dvc add data`" in said
    assert (copy_of_yours / "data.dvc").read_bytes() == recorded
    assert (copy_of_yours / MONTH).read_bytes() != content

    shutil.rmtree(copy_of_yours / "data")  # the first way out
    run(copy_of_yours, "ml", "restore")
    assert (copy_of_yours / MONTH).read_bytes() == content

    change(copy_of_yours)  # the second
    run(copy_of_yours, "dvc", "add", "--quiet", "data")
    run(copy_of_yours, "ml", "restore")


def spoil(folder: Path, file: Path) -> Path:
    """Lose the bytes in the middle of `file` in DVC's cache, which then trusts it: it is read-only."""
    name = hashlib.md5((folder / file).read_bytes(), usedforsecurity=False).hexdigest()
    place = folder / ".dvc/cache/files/md5" / name[:2] / name[2:]
    content = place.read_bytes()
    place.chmod(0o644)
    place.write_bytes(content[: len(content) // 3] + content[len(content) // 2 :])
    place.chmod(0o444)
    return place


def test_what_the_cache_holds_is_hashed_and_a_bad_file_comes_from_the_source(copy_of_yours: Path) -> None:
    content = (copy_of_yours / MONTH).read_bytes()
    place = spoil(copy_of_yours, Path(MONTH))
    shutil.rmtree(copy_of_yours / "data")
    said = run(copy_of_yours, "ml", "restore").stderr
    assert "DVC's cache held 1 of data/ with other bytes" in said and "from the source" in said
    assert (copy_of_yours / MONTH).read_bytes() == content
    assert not place.exists()


def test_a_bad_file_that_is_linked_into_data_is_no_data(copy_of_yours: Path) -> None:
    place = spoil(copy_of_yours, Path(MONTH))
    shutil.copy2(place, copy_of_yours / MONTH)
    assert "2013-03.parquet has changed" in refused(copy_of_yours, "ml", "restore")


@pytest.mark.parametrize("output", ["build/prepared.parquet", "models/plots/roc.csv"])
def test_a_bad_output_in_the_cache_is_made_again(copy_of_yours: Path, output: str) -> None:
    before = {name: (copy_of_yours / name).read_bytes() for name in (output, "models/model.onnx", "dvc.lock")}
    spoil(copy_of_yours, Path(output))
    shutil.rmtree(copy_of_yours / "build")
    shutil.rmtree(copy_of_yours / "models/plots")
    assert "everything is as dvc.lock says" in run(copy_of_yours, "ml", "reproduce").stderr
    assert {name: (copy_of_yours / name).read_bytes() for name in before} == before


def test_a_bad_output_that_only_the_run_cache_names_is_made_again(copy_of_yours: Path) -> None:
    """dvc.lock is of another seed, so nothing names the bad model before DVC takes it."""
    model = (copy_of_yours / "models/model.onnx").read_bytes()
    lock = (copy_of_yours / "dvc.lock").read_bytes()
    spoil(copy_of_yours, Path("models/model.onnx"))
    for name in ("build", "models"):
        shutil.rmtree(copy_of_yours / name)
    (copy_of_yours / "dvc.lock").unlink()
    assert "dropped, all stages run again" in run(copy_of_yours, "ml", "reproduce").stderr
    assert (copy_of_yours / "models/model.onnx").read_bytes() == model
    assert (copy_of_yours / "dvc.lock").read_bytes() == lock


# --- data.first moves -------------------------------------------------------------------------------------


def test_data_of_other_months_than_params_are_named_and_ingest_makes_them_so(copy_of_yours: Path) -> None:
    params = copy_of_yours / "params.yaml"
    params.write_text(params.read_text().replace("first: 2013-01", "first: 2013-03"))
    said = refused(copy_of_yours, "ml", "reproduce")
    assert "data.dvc holds 2013-01.parquet, holds 2013-02.parquet, and params.yaml: data says 2013-03" in said
    assert "run `ml ingest`" in said and "`dvc add data`" in said

    shutil.rmtree(copy_of_yours / ".dvc/cache")  # a fresh clone: nothing lists the files
    shutil.rmtree(copy_of_yours / "data")
    assert "data.dvc is of 6 files, and params.yaml: data says 2013-03 to 2013-06, 4 months" in refused(
        copy_of_yours, "ml", "restore"
    )

    run(copy_of_yours, "ml", "ingest")
    run(copy_of_yours, "dvc", "add", "--quiet", "data")
    run(copy_of_yours, "ml", "restore")
    assert [file.name for file in sorted((copy_of_yours / "data").iterdir())] == [
        f"2013-0{month}.parquet" for month in range(3, 7)
    ]


def test_a_file_that_is_no_month_of_params_is_named(copy_of_yours: Path) -> None:
    (copy_of_yours / "data/notes.txt").write_text("mine\n")
    assert "data/ differs from data.dvc (notes.txt is new)" in refused(copy_of_yours, "ml", "reproduce")


# --- a merge that git left open ---------------------------------------------------------------------------


READS_ALL = [("reproduce",), ("restore",), ("release",)]


@pytest.mark.parametrize(
    ("name", "verb"),
    [(name, verb) for name in ("dvc.lock", "params.yaml", "data.dvc") for verb in READS_ALL]
    + [("params.yaml", ("stage", "train"))],
)
def test_a_conflict_is_named_with_the_way_out(copy_of_yours: Path, name: str, verb: tuple[str, ...]) -> None:
    file = copy_of_yours / name
    first, *rest = file.read_text().splitlines(keepends=True)
    file.write_text("".join([first, "<<<<<<< HEAD\n", rest[0], "=======\n", *rest[1:], ">>>>>>> theirs\n"]))
    commit(copy_of_yours, "merged badly")
    said = refused(copy_of_yours, "ml", *verb)
    assert f"{name}, line 2: git left a conflict there" in said and f"`git add {name}`" in said


def test_a_source_that_says_something_else_than_before_is_refused(copy_of_yours: Path) -> None:
    shutil.rmtree(copy_of_yours / "data")
    shutil.rmtree(copy_of_yours / ".dvc/cache")
    source = copy_of_yours / "pipelines/problem/source.py"
    source.write_text(source.read_text().replace("LATE = 15.0", "LATE = 16.0"))
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


def test_data_from_the_source_can_be_pushed_to_a_new_remote(copy_of_yours: Path, tmp_path: Path) -> None:
    """A fresh clone has no cache, and DVC would look in the remote, which has nothing yet."""
    run(copy_of_yours, "git", "clean", "-dfxq")
    run(copy_of_yours, "ml", "restore")
    run(copy_of_yours, "dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    run(copy_of_yours, "ml", "reproduce")
    run(copy_of_yours, "dvc", "push", "--quiet", "data.dvc")
    assert run(copy_of_yours, "git", "status", "--porcelain", "data.dvc", "dvc.lock").stdout == ""
    shutil.rmtree(copy_of_yours / "data")
    shutil.rmtree(copy_of_yours / ".dvc/cache")
    assert "from the DVC remote 'storage'" in run(copy_of_yours, "ml", "restore").stderr


def test_data_that_nobody_tracks_yet_are_tracked_or_asked_for(copy_of_yours: Path) -> None:
    (copy_of_yours / "data.dvc").unlink()
    assert "data.dvc is new: commit it" in run(copy_of_yours, "ml", "reproduce").stderr
    shutil.rmtree(copy_of_yours / "data")
    (copy_of_yours / "data.dvc").unlink()
    assert "data.dvc does not exist: make the data with `ml ingest`" in refused(
        copy_of_yours, "ml", "reproduce"
    )


def test_a_bad_month_that_was_added_is_refused_with_the_stage_s_sentence(copy_of_yours: Path) -> None:
    lock = (copy_of_yours / "dvc.lock").read_bytes()
    (copy_of_yours / MONTH).write_bytes((copy_of_yours / MONTH).read_bytes()[:-9])
    run(copy_of_yours, "dvc", "add", "--quiet", "data")
    assert "data/2013-03.parquet is cut off" in refused(copy_of_yours, "ml", "reproduce")
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
    assert "params.yaml: train.se" in refused(copy_of_yours, "ml", "stage", "train")
