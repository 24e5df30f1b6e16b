"""The checkout that a release is made of: what goes into its id, and what is not as its commit has it."""

import functools
import shutil
from pathlib import Path

import pytest
import yaml

from pipelines.base.errors import UserError
from pipelines.base.files import sha256_of_tree
from pipelines.registry.store import Store
from pipelines.release import commit
from pipelines.release.release import release
from tests import project
from tests.problems.parcels import PROBLEM


@pytest.mark.parametrize(
    "part",
    [
        "bentofile.yaml",
        "pipelines/serving/service.py",
        "pipelines/core/contract.py",
        "requirements/serve.txt",
        "models/model.onnx",
        "models/golden.json",
        "models/serving.json",
    ],
)
def test_each_part_changes_the_id(checkout: Path, part: str) -> None:
    before = sha256_of_tree(checkout, commit.files(checkout))
    with (checkout / part).open("a") as file:
        file.write("\n")
    assert sha256_of_tree(checkout, commit.files(checkout)) != before


@pytest.mark.parametrize("part", ["pipelines/training/train.py", "README.md", "models/metrics.json"])
def test_what_is_no_part_of_it_does_not_change_the_id(checkout: Path, part: str) -> None:
    before = sha256_of_tree(checkout, commit.files(checkout))
    with (checkout / part).open("a") as file:
        file.write("\n")
    assert sha256_of_tree(checkout, commit.files(checkout)) == before


def test_a_file_that_the_commit_does_not_know_is_refused(checkout: Path, tmp_path: Path) -> None:
    (checkout / "pipelines/serving/extra.py").write_text("")
    with pytest.raises(UserError, match=r"pipelines/serving/extra\.py is not as the commit has it"):
        release(PROBLEM, store=Store(tmp_path / "store"))


def test_code_that_git_s_index_hides_is_refused(checkout: Path, tmp_path: Path) -> None:
    """None of them is a change by `git status`, and `git diff HEAD` shows none either."""
    service, hidden = checkout / "pipelines/serving/service.py", checkout / "pipelines/serving/hidden.py"
    other = checkout / "pipelines/serving/other"
    whole, git = service.read_bytes(), functools.partial(project.git, checkout)

    def refused(name: str) -> None:
        assert git("status", "--porcelain") == "", "the control: git's status sees nothing"
        with pytest.raises(UserError, match=f"pipelines/serving/{name} is not as the commit has it"):
            commit.check_clean(checkout)

    commit.check_clean(checkout)
    git("update-index", "--skip-worktree", "pipelines/serving/service.py")
    service.write_bytes(whole + b"#\n")
    refused("service.py")
    service.unlink()
    refused("service.py")
    service.write_bytes(whole)
    commit.check_clean(checkout)

    (checkout / ".git/info/exclude").write_text("hidden.py\nother\n")
    hidden.write_text("")
    refused("hidden.py")
    hidden.unlink()
    hidden.symlink_to(service)
    refused("hidden.py")
    hidden.unlink()
    other.symlink_to(tmp_path)
    refused("other")
    other.unlink()
    commit.check_clean(checkout)


def test_a_staged_rename_is_refused(checkout: Path) -> None:
    project.git(checkout, "mv", "pipelines/serving/request.py", "benchmark.py")
    with pytest.raises(UserError, match=r"pipelines/serving/request\.py is not as the commit has it"):
        commit.check_clean(checkout)


def test_line_ends_that_a_person_s_git_made_are_refused(checkout: Path) -> None:
    """core.autocrlf would let git call the file clean, while the Bento has other bytes than the commit."""
    project.git(checkout, "config", "core.autocrlf", "true")
    (checkout / ".gitattributes").unlink(missing_ok=True)
    file = checkout / "pipelines/serving/service.py"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(UserError, match=r"service\.py is not as the commit has it"):
        commit.check_clean(checkout)


@pytest.mark.parametrize("name", ["model.onnx", "golden.json", "window.parquet", "metrics.json"])
def test_models_that_are_not_of_the_lock_are_refused(checkout: Path, tmp_path: Path, name: str) -> None:
    with (checkout / "models" / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(UserError, match=f"models/{name} is not the one that dvc.lock names"):
        release(PROBLEM, store=Store(tmp_path / "store"))


def test_models_that_are_missing_are_refused(checkout: Path, tmp_path: Path) -> None:
    shutil.rmtree(checkout / "models")
    with pytest.raises(UserError, match=r"models/\S+ does not exist: run `ml reproduce`"):
        release(PROBLEM, store=Store(tmp_path / "store"))


def test_params_that_the_model_was_not_made_with_are_refused(checkout: Path, tmp_path: Path) -> None:
    text = (checkout / "params.yaml").read_text()
    (checkout / "params.yaml").write_text(text.replace("batch: 1000", "batch: 10"))
    project.commit(checkout, "another batch, without `ml reproduce`")
    with pytest.raises(UserError, match=r"params\.yaml: serving has changed since the model was made"):
        release(PROBLEM, store=Store(tmp_path / "store"))


def test_code_that_the_model_was_not_made_with_is_refused(checkout: Path, tmp_path: Path) -> None:
    with (checkout / "pipelines/training/train.py").open("a") as file:
        file.write("# changed\n")
    project.commit(checkout, "another training, without `ml reproduce`")
    with pytest.raises(UserError, match=r"train\.py has changed since the model was made"):
        release(PROBLEM, store=Store(tmp_path / "store"))


def test_a_pattern_without_a_file_is_named(checkout: Path) -> None:
    bentofile = yaml.safe_load((checkout / "bentofile.yaml").read_text())
    bentofile["include"].append("pipelines/nothing.py")
    (checkout / "bentofile.yaml").write_text(yaml.safe_dump(bentofile))
    with pytest.raises(UserError, match=r"pipelines/nothing\.py, which bentofile\.yaml includes"):
        commit.files(checkout)
