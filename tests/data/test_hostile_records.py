"""What a proposal writes into dvc.lock and data.dvc, or a remote into a list, leads nowhere: one sentence,
exit code 2, and nothing is removed or written. Beside each, the same road with what DVC itself writes."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.problems.yours import run

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def victim(copy_of_yours: Path) -> Path:
    """A folder beside the checkout that is nobody's business."""
    folder = copy_of_yours.parent / "victim"
    folder.mkdir()
    (folder / "letter.txt").write_text("mine")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    kept = (path for path in files if not path.is_relative_to(folder / ".dvc/tmp"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def refused(checkout: Path, verb: str) -> str:
    """The one sentence of a verb that ends with 2, and leaves all there is around the checkout as it was."""
    before = content(checkout.parent)
    done = run(checkout, "ml", verb, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert content(checkout.parent) == before
    (sentence,) = (line for line in done.stderr.splitlines() if line.startswith("ml: "))
    return sentence


def edit(file: Path, change: Edit) -> None:
    value = yaml.safe_load(file.read_text())
    change(value)
    file.write_text(yaml.safe_dump(value))


def named(**fields: str) -> Edit:
    """One more output of `train`."""
    return lambda lock: lock["stages"]["train"]["outs"].append({"path": "x", "md5": "0" * 32} | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "../victim"},
        {"path": ".dvc/config"},
        {"path": "models/../../victim"},
        {"md5": "../../victim/a"},
    ],
)
def test_a_lock_that_leads_out_of_the_repository_is_refused_before_anything_is_done(
    fields: dict[str, str], copy_of_yours: Path, victim: Path
) -> None:
    edit(copy_of_yours / "dvc.lock", named(**fields))
    sentence = refused(copy_of_yours, "reproduce")
    assert f"dvc.lock: stages.train.outs.{next(iter(fields))} is '" in sentence
    assert "run `ml reproduce`" in sentence


def test_a_file_that_a_lock_names_and_no_stage_makes_is_somebody_s_own(copy_of_yours: Path) -> None:
    (copy_of_yours / "notes.txt").write_text("mine")
    edit(copy_of_yours / "dvc.lock", named(path="notes.txt"))
    edit(copy_of_yours / "dvc.lock", named(path="pipelines/base/console.py"))
    run(copy_of_yours, "ml", "reproduce")
    assert (copy_of_yours / "notes.txt").read_text() == "mine"
    assert (copy_of_yours / "pipelines/base/console.py").is_file()


def test_an_output_that_is_a_link_is_refused_and_what_it_leads_to_stays(
    copy_of_yours: Path, victim: Path
) -> None:
    shutil.rmtree(copy_of_yours / "models/plots")
    (copy_of_yours / "models/plots").symlink_to(victim)
    assert "models/plots is a link" in refused(copy_of_yours, "reproduce")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda value: value["outs"][0].update(path="../victim"), "outs.path"),
        (lambda value: value["outs"].append({"path": "models", "md5": "0" * 32}), "outs.path"),
        (lambda value: value.update(wdir="../victim"), "wdir"),
        (lambda value: value["outs"][0].update(md5="../../../victim/x"), "outs.md5"),
    ],
)
@pytest.mark.parametrize("verb", ["restore", "reproduce"])
def test_a_data_dvc_that_tracks_anything_else_is_refused(
    verb: str, change: Edit, field: str, copy_of_yours: Path, victim: Path
) -> None:
    shutil.rmtree(copy_of_yours / "data")
    edit(copy_of_yours / "data.dvc", change)
    assert f"data.dvc: {field} is " in refused(copy_of_yours, verb)


def test_data_that_are_a_link_are_refused(copy_of_yours: Path, victim: Path) -> None:
    shutil.rmtree(copy_of_yours / "data")
    (copy_of_yours / "data").symlink_to(victim)
    assert "data is a link" in refused(copy_of_yours, "restore")


# --- lists ------------------------------------------------------------------------------------------------


def stored(places: Path, content: bytes, end: str = "") -> str:
    """The name under which DVC finds this content in its cache or remote."""
    name = hashlib.md5(content, usedforsecurity=False).hexdigest()
    (places / "files/md5" / name[:2]).mkdir(parents=True, exist_ok=True)
    (places / "files/md5" / name[:2] / f"{name[2:]}{end}").write_bytes(content)
    return f"{name}{end}"


def leading_out(places: Path, listed: str, relpath: str) -> str:
    """The list of that name, and one file more that is elsewhere."""
    entries = json.loads((places / "files/md5" / listed[:2] / listed[2:]).read_bytes())
    entries.append({"relpath": relpath, "md5": stored(places, b"theirs")})
    return stored(places, json.dumps(entries).encode(), ".dir")


def track(checkout: Path, change: Callable[[str], str]) -> None:
    def rename(value: dict[str, Any]) -> None:
        out = value["outs"][0]
        value["outs"] = [{"path": "data", "hash": "md5", "md5": change(out["md5"])}]

    edit(checkout / "data.dvc", rename)


def test_a_list_in_the_cache_writes_nothing_beside_its_folder(copy_of_yours: Path, victim: Path) -> None:
    cache = copy_of_yours / ".dvc/cache"
    shutil.rmtree(copy_of_yours / "data")
    track(copy_of_yours, lambda name: leading_out(cache, name, "../../victim/letter.txt"))
    assert "relpath is '../../victim/letter.txt'" in refused(copy_of_yours, "restore")


@pytest.fixture
def remote(copy_of_yours: Path) -> Path:
    """A DVC remote that has all, of a checkout that has nothing."""
    folder = copy_of_yours.parent / "remote"
    run(copy_of_yours, "dvc", "remote", "add", "--default", "storage", str(folder))
    run(copy_of_yours, "dvc", "push", "--quiet")
    for name in ("data", ".dvc/cache", "models/plots"):
        shutil.rmtree(copy_of_yours / name)
    return folder


def test_a_list_of_the_remote_writes_nothing_beside_its_folder(
    remote: Path, copy_of_yours: Path, victim: Path
) -> None:
    run(copy_of_yours, "ml", "restore")
    shutil.rmtree(copy_of_yours / "data")
    shutil.rmtree(copy_of_yours / ".dvc/cache")
    track(copy_of_yours, lambda name: leading_out(remote, name, "../../victim/letter.txt"))
    assert "relpath is '../../victim/letter.txt'" in refused(copy_of_yours, "restore")


def test_a_list_of_a_stage_s_output_writes_nothing_beside_its_folder(
    remote: Path, copy_of_yours: Path, victim: Path
) -> None:
    run(copy_of_yours, "ml", "reproduce")
    assert (copy_of_yours / "models/plots").is_dir()
    shutil.rmtree(copy_of_yours / ".dvc/cache")
    shutil.rmtree(copy_of_yours / "models/plots")

    def lead_out(lock: dict[str, Any]) -> None:
        for out in lock["stages"]["evaluate"]["outs"]:
            if out["path"] == "models/plots":
                out["md5"] = leading_out(remote, out["md5"], "../../../victim/letter.txt")

    edit(copy_of_yours / "dvc.lock", lead_out)
    assert "relpath is '../../../victim/letter.txt'" in refused(copy_of_yours, "reproduce")
