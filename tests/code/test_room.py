"""A mistake in the team's room is one sentence with file and line, and exit code 2."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.base.errors import UserError
from pipelines.core import room
from tests import project
from tests.problems.parcels import PARAMS_FILE
from tests.problems.yours import environment


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("room")
    shutil.copytree(project.code() / "pipelines", folder / "pipelines")
    shutil.copy(PARAMS_FILE, folder)
    return folder


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("columns.py", "CONTRACT = Contract(", "CONTRACT = = Contract(", "columns.py, line "),
        (
            "columns.py",
            "import Column,",
            "import Colum,",
            "columns.py, line 3: ImportError: cannot import name",
        ),
        (
            "columns.py",
            '"carrier",\n        "category"',
            '"carrier",\n        "word"',
            "carrier: type is 'word'",
        ),
        ("columns.py", "slice=True", "slices=True", "TypeError: Column.__init__() got an unexpected keyword"),
        ("columns.py", "label=True", "label=False", "exactly one column needs label=True"),
        (
            "columns.py",
            "CONTRACT =",
            "CONTRAKT =",
            "pipelines/problem/columns.py has no CONTRACT",
        ),
        ("source.py", "import pandas as pd", "import pandas as pd\nimport no_such", "`make lock`"),
        ("source.py", "def read(month: str)", "def read()", "source.py: read() is called with 1 argument"),
        ("source.py", "def read(month", "def reads(month", "pipelines/problem/source.py has no read"),
        ("source.py", 'f"2013-{month:02}"', 'f"{month}/2013"', "returns '1/2013' for a month"),
        (
            "source.py",
            "_drawn(month).copy()",
            '_drawn(month)["moon"]',
            "line 72: KeyError: 'moon'",
        ),
    ],
)
def test_a_mistake_is_one_sentence(checkout: Path, name: str, old: str, new: str, said: str) -> None:
    file = checkout / "pipelines/problem" / name
    before = file.read_text()
    assert old in before
    file.write_text(before.replace(old, new, 1))
    try:
        # Without -B Python may run the last mistake's bytecode: it knows a file by its second and its size.
        command = [sys.executable, "-B", "-m", "pipelines.cli", "ingest", "--through", "2013-01"]
        done = subprocess.run(
            command, cwd=checkout, env=environment(checkout), capture_output=True, text=True
        )
    finally:
        file.write_text(before)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("ml: pipelines/problem/") and said in sentence


def test_our_own_bug_is_none_of_the_room() -> None:
    with pytest.raises(ZeroDivisionError) as error:
        1 / 0  # noqa: B018
    assert room.mistake(error.value) is None
    assert room.mistake(UserError("said already")) is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "must return a list"),
        ("2013-01", "must return a list"),
        ([201301], "for a month"),
        (["2013-02", "2013-01"], "oldest first"),
    ],
)
def test_months_that_are_none_are_named(found: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        room.months(lambda: found)
