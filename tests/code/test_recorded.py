"""What dvc.lock, data.dvc and DVC's lists name is looked at in one place, before anything is done for it."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.base import recorded
from pipelines.base.errors import UserError

ROOT = Path(__file__).parents[2]
MD5 = "0123456789abcdef0123456789abcdef"
LOCK = yaml.safe_load((ROOT / "dvc.lock").read_text())
PATHS = [
    *("../elsewhere", "models/../../elsewhere", "/etc/passwd", "~/.ssh", "C:/x", "file:///etc", "", None, 7),
    *(
        "a//b",
        "./a",
        ".git/config",
        "models/.GIT/x",
        ".dvc/config",
        "a\\..\\b",
        "a\nb",
        "a" * 2000,
        ["models"],
    ),
]
HIDDEN = [".github/workflows/judge.yml", ".venv", "models/.gitignore"]
NAMES = ["../" * 8, "..", MD5[:-1], MD5 + ".dir.dir", MD5.upper(), MD5 + "\n", "", None, 7, [MD5]]


def lock(**fields: Any) -> bytes:
    """This repository's dvc.lock with fields of one output replaced."""
    changed = copy.deepcopy(LOCK)
    changed["stages"]["train"]["outs"][0] |= fields
    return yaml.safe_dump(changed).encode()


def test_this_repository_s_own_files_name_what_they_may(tmp_path: Path) -> None:
    stages = recorded.stages(lock(), at=ROOT)
    assert recorded.outputs(stages)["models/plots"].endswith(".dir")
    assert "models/model.onnx" in recorded.outputs(stages)
    recorded.check_folder(ROOT / "data.dvc", Path("data"))


@pytest.mark.parametrize("path", [*PATHS, *HIDDEN])
def test_a_path_that_no_stage_makes_is_refused_by_its_field(path: Any) -> None:
    with pytest.raises(UserError, match=r"^dvc\.lock: stages\.train\.outs\.path is .*run `ml reproduce`$"):
        recorded.stages(lock(path=path))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_md5_is_refused_by_its_field(name: Any) -> None:
    with pytest.raises(UserError, match=r"^dvc\.lock: stages\.train\.outs\.md5 is "):
        recorded.stages(lock(md5=name))


@pytest.mark.parametrize("fields", [{"files": []}, {"cloud": {}}, {"hash": "../md5"}])
def test_other_lists_of_names_than_this_one_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"outs\.{next(iter(fields))} is"):
        recorded.stages(lock(**fields))


@pytest.mark.parametrize("content", [b"", b"[1]", b"stages: 7", b"stages: {a: 7}", b"stages: {a: {outs: 7}}"])
def test_what_is_no_dvc_lock_is_one_sentence(content: bytes) -> None:
    with pytest.raises(UserError, match="is not one that DVC wrote"):
        recorded.stages(content)


@pytest.mark.parametrize("link", ["models", "models/model.onnx"])
def test_an_output_that_is_a_link_or_behind_one_is_refused(link: str, tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    (here / "models").mkdir(parents=True)
    elsewhere.mkdir()
    recorded.stages(lock(), at=here)
    if link == "models":
        (here / link).rmdir()
    (here / link).symlink_to(elsewhere)
    with pytest.raises(UserError, match=rf"because {link} is a link"):
        recorded.stages(lock(), at=here)


@pytest.mark.parametrize(
    "changed",
    [
        {"outs": [{"md5": f"{MD5}.dir", "path": "../data"}]},
        {"outs": [{"md5": f"{MD5}.dir", "path": "models"}]},
        {"outs": [{"md5": f"{MD5}.dir", "path": "data"}, {"md5": MD5, "path": "Makefile"}]},
        {"outs": [{"md5": "../../../x", "path": "data"}]},
        {"outs": [{"md5": f"{MD5}.dir", "path": "data"}], "wdir": ".."},
        {"outs": 7},
        [],
    ],
)
def test_a_dvc_file_tracks_its_own_folder_and_nothing_else(changed: Any) -> None:
    recorded.check_tracked((ROOT / "data.dvc").read_bytes(), "data", "data.dvc")
    with pytest.raises(UserError, match=r"^data\.dvc"):
        recorded.check_tracked(yaml.safe_dump(changed).encode(), "data", "data.dvc")


@pytest.mark.parametrize(
    "entry",
    [*({"relpath": path, "md5": MD5} for path in PATHS), *({"relpath": "a", "md5": n} for n in NAMES)],
)
def test_a_list_of_a_folder_leads_nowhere_else(entry: dict[str, Any]) -> None:
    good = {"relpath": "2013-01.parquet", "md5": MD5}
    assert recorded.listed(json.dumps([good]).encode(), f"{MD5}.dir") == {"2013-01.parquet": MD5}
    with pytest.raises(UserError, match=r"^DVC's list .*\.dir"):
        recorded.listed(json.dumps([good, entry]).encode(), f"{MD5}.dir")
