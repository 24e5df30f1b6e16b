"""Files are whole or not there."""

from pathlib import Path

import pytest

from pipelines.base import files
from pipelines.base.errors import UserError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files.write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(files.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write_text(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_nan_is_never_written_as_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(tmp_path / "a.json", {"p": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b'{"a": ', b"\xff\xfe"])
def test_a_file_that_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = files.write_bytes(tmp_path / "a.json", content)
    with pytest.raises(UserError, match=r"a\.json is not valid JSON"):
        files.read_json(path)


def test_the_hash_of_a_tree_changes_with_a_name_and_with_a_byte(tmp_path: Path) -> None:
    files.write_text(tmp_path / "t/a", "1")
    files.write_text(tmp_path / "t/b/c", "2")
    before = files.sha256_of_tree(tmp_path / "t")
    (tmp_path / "t/b/c").rename(tmp_path / "t/b/d")
    renamed = files.sha256_of_tree(tmp_path / "t")
    files.write_text(tmp_path / "t/b/d", "3")
    assert len({before, renamed, files.sha256_of_tree(tmp_path / "t")}) == 3
