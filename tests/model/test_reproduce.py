"""`ml reproduce` compares with the committed dvc.lock, and hands on why a stage failed."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.base import git
from pipelines.base.errors import Refused, UserError
from pipelines.training.reproduce import _committed, _failure, compare

LOCK: dict[str, Any] = {
    "schema": "2.0",
    "stages": {
        "prepare": {
            "cmd": "ml stage prepare",
            "deps": [{"path": "data", "md5": "d1"}, {"path": "prepare.py", "md5": "p1"}],
            "outs": [{"path": "build/prepared.parquet", "md5": "b1"}],
        },
        "train": {
            "cmd": "ml stage train",
            "deps": [{"path": "build/prepared.parquet", "md5": "b1"}],
            "params": {"params.yaml": {"train": {"seed": 7, "last": "2013-05"}, "drift.psi": 0.1}},
            "outs": [{"path": "models/model.onnx", "md5": "m1"}],
        },
    },
}


@pytest.fixture
def lock() -> dict[str, Any]:
    return copy.deepcopy(LOCK)


def test_a_checkout_of_another_owner_is_not_a_lock_that_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git.run("init", "--quiet", str(tmp_path))
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    git.run("add", "dvc.lock", at=tmp_path)
    monkeypatch.chdir(tmp_path)
    assert _committed() is None
    who = {"user.name": "Ada", "user.email": "ada@example.com"}
    git.run("commit", "--quiet", "--message", "First", at=tmp_path, settings=who)
    assert _committed() == {"stages": {}}
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own way to test it
    monkeypatch.setattr(git, "LOGIN", re.compile(git.LOGIN.pattern + "|GIT_TEST_ASSUME_DIFFERENT_OWNER"))
    with pytest.raises(UserError, match=r"belongs to another user: run `git config .* safe\.directory"):
        _committed()


def test_the_same_lock_differs_in_nothing(lock: dict[str, Any]) -> None:
    found = compare(LOCK, lock)
    assert found.inputs == () and found.outputs == ()


def test_a_changed_parameter_is_named_by_its_key(lock: dict[str, Any]) -> None:
    lock["stages"]["train"]["params"]["params.yaml"]["train"]["seed"] = 8
    lock["stages"]["train"]["outs"][0]["md5"] = "m2"
    found = compare(LOCK, lock)
    assert found.inputs == ("params.yaml: train.seed",)


def test_changed_data_and_code_are_inputs(lock: dict[str, Any]) -> None:
    lock["stages"]["prepare"]["deps"][0]["md5"] = "d2"
    lock["stages"]["prepare"]["deps"][1]["md5"] = "p2"
    assert compare(LOCK, lock).inputs == ("data", "prepare.py")


def test_another_output_of_the_same_inputs_is_no_input(lock: dict[str, Any]) -> None:
    lock["stages"]["prepare"]["outs"][0]["md5"] = "b2"
    lock["stages"]["train"]["deps"][0]["md5"] = "b2"
    found = compare(LOCK, lock)
    assert found.inputs == ()
    assert found.outputs == ("build/prepared.parquet: b1, now b2",)


def test_a_new_stage_is_an_input(lock: dict[str, Any]) -> None:
    lock["stages"]["explain"] = {"cmd": "ml explain", "deps": [], "outs": []}
    assert compare(LOCK, lock).inputs == ("the command `ml explain`",)


def test_a_stage_s_own_sentence_is_raised_again() -> None:
    ended = "ERROR: failed to reproduce 'train': failed to run: ml stage train, exited with "
    mistake = _failure(["ml: params.yaml: train.sede is not a known key", f"{ended}2"])
    assert isinstance(mistake, UserError) and "train.sede" in str(mistake)
    verdict = _failure(["ml: data/2013-01.parquet: expected", f"{ended}4"])
    assert isinstance(verdict, Refused)
    assert isinstance(_failure(["Traceback ...", f"{ended}1"]), RuntimeError)
    locked = _failure(["ERROR: Unable to acquire lock."])
    assert isinstance(locked, UserError) and "Unable to acquire lock" in str(locked)
