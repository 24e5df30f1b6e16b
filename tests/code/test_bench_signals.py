"""A benchmark ends at a signal, with its exit code, and leaves no process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]


def left(folder: Path) -> list[str]:
    """The command lines of living processes that were given this folder as a temporary one, or name it."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
            if process.pid != os.getpid() and any(str(folder) in word for word in words):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def begun(name: str, folder: Path) -> tuple["subprocess.Popen[bytes]", Path]:
    """`make bench ONLY=name`, as make runs it, and what it says; it has begun to work."""
    said = folder.with_name("said")
    folder.mkdir()
    environment = os.environ | {"TMPDIR": str(folder), "PART": "flips", "FLIPS": "3", "REQUESTS": "100"}
    command = [sys.executable, "-m", "benchmarks", name, "analysis"]
    with said.open("wb") as out:
        bench = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    until = time.monotonic() + 180
    while not works(name, folder, said) and bench.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    assert bench.poll() is None and works(name, folder, said), said.read_text()
    return bench, said


def works(name: str, folder: Path, said: Path) -> bool:
    """The one is in a move, the other has its workers."""
    if name == "delivery":
        return " goes to " in said.read_text()
    return sum("spawn_main" in line for line in left(folder)) >= 2


@pytest.mark.slow
def test_in_a_move_it_ends_and_takes_its_host_down(tmp_path: Path) -> None:
    """It is in the hand of a rollout, which takes the signal first, to undo its step."""
    bench, said = begun("delivery", tmp_path / "temporary")
    assert left(tmp_path / "temporary")
    bench.send_signal(signal.SIGTERM)
    assert bench.wait(120) == 143, said.read_text()
    assert left(tmp_path / "temporary") == []
    assert "ended by SIGTERM" in said.read_text() and " is live on " not in said.read_text()
    assert "rolled back" not in said.read_text()  # the benchmark after it does not begin


@pytest.mark.slow
def test_with_workers_it_ends_at_once_as_a_terminal_would_have_it(tmp_path: Path) -> None:
    bench, said = begun("analysis", tmp_path / "temporary")
    os.killpg(bench.pid, signal.SIGINT)
    assert bench.wait(60) == 130, said.read_text()
    assert left(tmp_path / "temporary") == []


def test_a_process_that_is_left_is_seen(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(["sleep", "600"], env=os.environ | {"TMPDIR": str(tmp_path)})
    try:
        assert left(tmp_path) == ["sleep 600"]
    finally:
        sleeper.kill()
        sleeper.wait()
