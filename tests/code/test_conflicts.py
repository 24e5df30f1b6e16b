"""What git leaves of a merge that it could not finish is seen, and nothing else is taken for it."""

from pathlib import Path

import pytest

from pipelines.base import conflicts
from pipelines.base.errors import UserError

LEFT = "a: 1\n<<<<<<< HEAD\nb: 2\n=======\nb: 3\n>>>>>>> theirs\n"


def test_a_conflict_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "dvc.lock"
    file.write_text(LEFT)
    with pytest.raises(UserError, match=r"dvc\.lock, line 2: git left a conflict .*`ml reproduce`"):
        conflicts.refuse(file)


@pytest.mark.parametrize("text", ["", "a: 1\n", "a: <<<<<<< b\n", "title\n=======\n"])
def test_other_text_is_no_conflict(tmp_path: Path, text: str) -> None:
    conflicts.refuse(tmp_path / "missing")
    conflicts.refuse(tmp_path / "params.yaml", text)
