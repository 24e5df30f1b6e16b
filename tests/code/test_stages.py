"""dvc.lock is of the code that is here; what of it a stage reads, `ml lint` compares (test_lists.py)."""

import hashlib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def outdated(lock: dict) -> set[str]:
    """The code that has changed since the stages of a dvc.lock ran."""
    deps = [dep for stage in lock["stages"].values() for dep in stage.get("deps", ())]
    files = {dep["path"]: dep["md5"] for dep in deps if (ROOT / dep["path"]).is_file()}
    return {path for path, md5 in files.items() if hashlib.md5((ROOT / path).read_bytes()).hexdigest() != md5}


def test_dvc_lock_is_of_this_code() -> None:
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())
    assert not outdated(lock), "run `ml reproduce` and commit dvc.lock"
    lock["stages"]["train"]["deps"][0] = {"path": "dvc.yaml", "md5": "0" * 32}
    assert outdated(lock) == {"dvc.yaml"}
