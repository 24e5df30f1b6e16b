"""An image is the same bytes whoever built it, and when: by images made by hand, without an engine."""

import json
import tarfile
from pathlib import Path

import pytest

from pipelines.base.errors import UserError
from pipelines.base.files import sha256
from pipelines.release.layers import normalise
from tests.delivery import images

EPOCH = 1_700_000_000


def made(folder: Path, name: str, ours: bytes, base: bytes | None = None):
    diffs = images.saved(folder / f"{name}.tar", base or images.layer(images.BASE), ours)
    return normalise(folder / f"{name}.tar", folder / name, diffs[:1], EPOCH)


def test_times_order_and_umask_of_a_build_do_not_reach_the_digest_and_content_does(tmp_path: Path) -> None:
    one = made(tmp_path, "one", images.layer(images.OURS))
    two = made(tmp_path, "two", images.layer(images.OURS, time=99, mode=0o600, backwards=True))
    other = made(tmp_path, "other", images.layer(images.OURS | {"bento/src/service.py": "x = 2\n"}))
    runs = made(tmp_path, "runs", images.layer(images.OURS, mode=0o755))
    assert one.digest == two.digest != other.digest
    assert runs.digest != one.digest
    assert f"sha256:{sha256(one.blob(one.digest))}" == one.digest


def test_the_base_stays_as_it_is_and_the_config_says_no_more_than_how_to_start(tmp_path: Path) -> None:
    base = images.layer(images.BASE, time=7)
    layout = made(tmp_path, "one", images.layer(images.OURS), base)
    assert layout.layers[0].read_bytes() == base
    assert layout.config["created"] == "2023-11-14T22:13:20Z"
    assert layout.config["config"] == {"User": "65534:65534", "Env": ["A=1"]}
    assert "docker_version" not in layout.config


def test_what_programs_of_the_build_leave_outside_our_folders_is_not_in_the_image(tmp_path: Path) -> None:
    left = images.layer(images.OURS | {"root/.cache/device": "123", "tmp/x": "1", "usr/kept": "1"})
    layout = made(tmp_path, "one", left)
    with tarfile.open(layout.layers[1]) as archive:
        assert {name.partition("/")[0] for name in archive.getnames()} == {"app", "bento", "usr"}


def test_the_engine_gets_the_same_image(tmp_path: Path) -> None:
    layout = made(tmp_path, "one", images.layer(images.OURS))
    with tarfile.open(layout.archive(tmp_path / "load.tar", "little:1")) as archive:
        (listed,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert listed["RepoTags"] == ["little:1"]
        assert archive.extractfile(listed["Config"]).read() == layout.blob(layout.id).read_bytes()  # type: ignore[union-attr]


def test_an_image_on_another_base_or_none_is_refused(tmp_path: Path) -> None:
    diffs = images.saved(tmp_path / "a.tar", images.layer(images.BASE), images.layer(images.OURS))
    with pytest.raises(UserError, match="is not built on the base"):
        normalise(tmp_path / "a.tar", tmp_path / "a", diffs[1:], EPOCH)
    with tarfile.open(tmp_path / "b.tar", "w"):
        pass
    with pytest.raises(UserError, match="is not one image of `docker save`"):
        normalise(tmp_path / "b.tar", tmp_path / "b", diffs, EPOCH)
