"""What `ml` prints no runner takes for a command, whoever chose the words."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.base import console

COMMANDS = [
    "::set-output name=x::1",
    "  ::error::forged",
    "\t\u200b\ufeff::add-mask::a",
    "said ##[error]forged",
    "##[add-path]/tmp",
]


def is_a_command(line: str) -> bool:
    """As a runner reads a line: `::` after what is not seen, `##[` anywhere."""
    seen = "".join(c for c in line if c.isprintable()).lstrip()
    return seen.startswith("::") or "##[" in line


@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_is_a_command_however_it_is_written(command: str) -> None:
    assert is_a_command(command)
    assert not is_a_command(console.harmless(command))
    for text in (f"{command}\n", f"fine\n{command}\nfine\n", f"fine\r{command}\r\n"):
        for size in (1, 2, 3, len(text)):
            shown = io.StringIO()
            stream = console.Harmless(shown)
            for start in range(0, len(text), size):
                stream.write(text[start : start + size])
            assert not any(map(is_a_command, shown.getvalue().splitlines()))


@pytest.mark.parametrize("line", ["a::b", "127.0.0.1 ::1", "## [x]", ":x", "", "C:: fine", "# [a]"])
def test_what_is_no_command_stays_as_it_is(line: str) -> None:
    assert console.harmless(line) == line


def test_the_whole_of_ml_prints_so(tmp_path: Path) -> None:
    """A sentence with a proposal's name in it, as a verb prints it."""
    script = (
        "import sys, pipelines.cli as cli\n"
        "cli.app = lambda: (print('x\\n::error::1'), print('##[error]2', file=sys.stderr))\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "x\n: :error::1\n" and done.stderr == "## [error]2\n"


def test_the_traceback_of_a_bug_prints_so_too() -> None:
    """A library's error may hold a proposal's text, in lines."""
    script = (
        "import pipelines.cli as cli\n"
        "def app(): raise RuntimeError('x\\n::set-output name=report::true')\n"
        "cli.app = app\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1 and "RuntimeError: x\n: :set-output" in done.stderr


def test_a_value_cannot_set_a_second_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "out"))
    console.output("name", "a\nmodel=false")
    assert (tmp_path / "out").read_text() == "name=a model=false\n"
