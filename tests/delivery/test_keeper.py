"""The keeper alone: who has the turn, who waits for it, and what starts again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipelines.host import keeper
from tests.delivery.waiting import never, runs, until

SERVER = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
WITH_WORKER = "import subprocess; subprocess.Popen(['sleep', '60'], close_fds=False, start_new_session=True);"
ENDS = "import os; print(os.getpid(), flush=True)"


class Place:
    """A folder with a lock and a log, and what was started there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, list[psutil.Popen]()
        self.lock, self.log = folder / "lock", folder / "log"

    def run(self, how: str, code: str = SERVER, lock: Path | None = None) -> psutil.Popen:
        arguments = [how, str(lock or self.lock), str(self.log), sys.executable, "-c", code]
        environment = {**os.environ, "PLACE": str(self.folder)}
        self.started.append(psutil.Popen([sys.executable, keeper.__file__, *arguments], env=environment))
        return self.started[-1]

    def served(self) -> list[int]:
        """The process ids of all servers that ever began, in that order."""
        return [int(line) for line in self.log.read_text().split()] if self.log.exists() else []

    def end(self) -> None:
        for process in psutil.process_iter():
            try:
                if process.environ().get("PLACE") == str(self.folder):
                    process.kill()
            except psutil.Error:
                continue
        for process in self.started:
            process.wait()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.end()


def test_a_second_one_waits_until_the_first_ends_however_it_ends(place: Place) -> None:
    first = place.run("once")
    until(lambda: place.served() == [first.pid])
    second = place.run("once")
    never(lambda: len(place.served()) > 1)
    assert keeper.holder(place.lock) == first.pid
    first.kill()
    until(lambda: place.served() == [first.pid, second.pid])
    assert keeper.holder(place.lock) == second.pid


def test_two_with_locks_of_their_own_do_not_wait(place: Place) -> None:
    place.run("once")
    place.run("once", lock=place.folder / "another")
    until(lambda: len(place.served()) == 2)


def test_a_worker_that_outlived_its_server_does_not_have_the_turn(place: Place) -> None:
    first = place.run("once", WITH_WORKER + SERVER)
    until(lambda: place.served() == [first.pid])
    (worker,) = first.children()
    first.kill()
    first.wait()
    assert worker.is_running() and keeper.holder(place.lock) == 0
    second = place.run("once")
    until(lambda: place.served() == [first.pid, second.pid])


def test_nobody_has_the_turn_where_there_is_no_lock(tmp_path: Path) -> None:
    assert keeper.holder(tmp_path / "lock") == 0


def test_what_is_killed_again_and_again_starts_each_time(place: Place) -> None:
    place.run("keep")
    for times in range(1, 4):
        until(lambda times=times: len(place.served()) == times)  # type: ignore[misc]
        os.kill(place.served()[-1], signal.SIGKILL)
    until(lambda: keeper.holder(place.lock) not in (0, *place.served()[:3]))


def test_what_ends_at_once_starts_again_ever_less_often(place: Place) -> None:
    place.run("keep", ENDS)
    until(lambda: len(place.served()) >= 4)
    never(lambda: len(place.served()) > 12, 2.0)  # without pauses it would be a hundred


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("code", [SERVER, ENDS])
def test_a_keeper_that_is_asked_to_end_takes_its_server_along(
    place: Place, how: signal.Signals, code: str
) -> None:
    kept = place.run("keep", code)
    until(lambda: len(place.served()) >= (1 if code == SERVER else 3))
    kept.send_signal(how)
    assert kept.wait(20) == 0
    assert keeper.holder(place.lock) == 0


def test_the_next_keeper_leaves_the_server_of_a_killed_one_alone_and_takes_over_at_its_end(
    place: Place,
) -> None:
    killed = place.run("keep")
    until(lambda: len(place.served()) == 1)
    killed.kill()
    following = place.run("keep")
    until(lambda: len(following.children()) == 1)
    never(lambda: len(place.served()) > 1)
    (server,) = place.served()
    assert psutil.pid_exists(server)
    os.kill(server, signal.SIGKILL)
    until(lambda: len(place.served()) == 2)
    assert psutil.Process(keeper.holder(place.lock)).ppid() == following.pid


def test_a_keeper_without_a_supervisor_goes_on_until_another_has_taken_over(place: Place) -> None:
    arguments = [sys.executable, keeper.__file__, "keep", str(place.lock), str(place.log)]
    start = f"import subprocess; subprocess.run({[*arguments, sys.executable, '-c', SERVER]!r})"
    supervisor = subprocess.Popen(
        [sys.executable, "-c", start], env={**os.environ, "PLACE": str(place.folder)}
    )
    until(lambda: len(place.served()) == 1)
    alone = psutil.Process(psutil.Process(place.served()[0]).ppid())
    supervisor.kill()
    supervisor.wait()
    os.kill(place.served()[0], signal.SIGKILL)
    until(lambda: len(place.served()) == 2 or not runs(alone))
    assert runs(alone) and psutil.Process(place.served()[1]).ppid() == alone.pid
    following = place.run("keep")
    until(lambda: len(following.children()) == 1)
    while runs(alone):  # whoever comes first starts the next one
        assert len(place.served()) < 10
        killed = set(place.served())
        os.kill(place.served()[-1], signal.SIGKILL)
        until(lambda killed=killed: _decided(alone, killed))  # type: ignore[misc]
        until(lambda killed=killed: len(place.served()) > len(killed))  # type: ignore[misc]
    assert psutil.Process(keeper.holder(place.lock)).ppid() == following.pid


def test_a_long_log_is_set_aside_under_its_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short, long = tmp_path / "short", tmp_path / "long"
    short.write_text("short\n")
    monkeypatch.setattr(keeper, "LOG_BYTES", 10)
    parents = iter([1, 1, 2])  # one round, then the supervisor is gone
    monkeypatch.setattr(keeper.os, "getppid", lambda: next(parents))
    with long.open("a") as writer:
        writer.write("a long line\n")
        writer.flush()
        keeper.trim([str(short), str(long), str(tmp_path / "none")], every=0)
        writer.write("next\n")
    assert long.read_text() == "next\n" and Path(f"{long}.1").read_text() == "a long line\n"
    assert short.read_text() == "short\n" and not Path(f"{short}.1").exists()


def _decided(alone: psutil.Process, killed: set[int]) -> bool:
    """Whether a keeper that lost its server has either ended or begun the next one."""
    try:
        return not runs(alone) or bool({child.pid for child in alone.children()} - killed)
    except psutil.NoSuchProcess:
        return True
