"""A command that runs in a fork of another process is the same as one that runs by itself."""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from pipelines.base import preloaded, programs
from pipelines.training import reproduce

STAGES = ("validate", "prepare", "train", "evaluate", "verify", "card")
ALONE = 99  # the exit code of a command that no process waits for
ASK = (
    "import sys; from pipelines.base.preloaded import elsewhere\n"
    f"sys.exit({ALONE} if (code := elsewhere(sys.argv.pop(1))) is None else code)"
)
COMMAND = "tests.code.test_preloaded:command"
WAITING = 30  # seconds, then a process that should have ended has not


def command() -> None:
    """What the forks of these tests run."""
    what, *words = sys.argv[1:]
    if what == "say":
        print(words, Path.cwd(), os.environ.get("DVC_STAGE"), sys.stdin.read(), end="")
        print(f"{Path(sys.argv[0]).name} to standard error", file=sys.stderr)
    elif what == "imported":
        print(*(name in sys.modules for name in words), preloaded.FOLDER in os.environ)
    elif what == "seed":
        print(hash("a text"))
    elif what == "exit":
        sys.exit(int(words[0]))
    elif what == "raise":
        raise RuntimeError("a bug")
    elif what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "run":
        runpy.run_path(words[0], run_name="__main__")
    elif what == "wait":
        print(os.getpid(), flush=True)
        time.sleep(2 * WAITING)


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("preloaded")
    ahead = [
        "colorsys",
        "no_module_of_that_name",
        "tests.code.ends_python",
        "sklearn",
        "wave",
    ]  # sklearn sets variables
    one = preloaded.preloaded(folder / "others", COMMAND, ahead)
    with one, preloaded.preloaded(folder / "verify", COMMAND, []):
        yield {preloaded.FOLDER: str(folder)}


def start(
    there: dict[str, str], *words: str, name: str = "others", **options: Any
) -> "subprocess.Popen[str]":
    environment = programs.environment(own_code=True, **there)
    for stream in ("stdin", "stdout", "stderr"):
        options.setdefault(stream, subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", ASK, name, *words], env=environment, text=True, **options)


def told(there: dict[str, str], *words: str, name: str = "others") -> tuple[int, str, str]:
    process = start(there, *words, name=name)
    out, err = process.communicate("", timeout=WAITING)
    return process.returncode, out, err


def test_a_fork_has_the_commands_arguments_folder_environment_and_streams(
    waiting: dict[str, str], tmp_path: Path
) -> None:
    process = start({**waiting, "DVC_STAGE": "schön"}, "say", "a b", "", cwd=tmp_path)
    out, err = process.communicate("through standard input", timeout=WAITING)
    assert out == f"['a b', ''] {tmp_path} schön through standard input"
    assert (process.returncode, err) == (0, "-c to standard error\n")
    many = {f"DVC_{number}": "x" * 50_000 for number in range(20)}  # more than a socket holds at a time
    assert told({**waiting, **many}, "exit", "0")[0] == 0


def test_imports_are_there_and_one_that_fails_hinders_no_other(waiting: dict[str, str]) -> None:
    names = ("colorsys", "no_module_of_that_name", "tests.code.ends_python", "wave", "chunked")
    said = told(waiting, "imported", *names)[1].split()
    assert said == [
        "True",
        "False",
        "False",
        "True",
        "False",
        "False",
    ]  # nor does it ask for a fork


def test_commands_of_another_process_have_another_hash_seed(waiting: dict[str, str]) -> None:
    one, again, other = (told(waiting, "seed", name=name) for name in ("others", "others", "verify"))
    assert one == again and (one[0], other[0]) == (0, 0) and one[1] != other[1]


@pytest.mark.parametrize(("words", "code"), [(("exit", "0"), 0), (("exit", "3"), 3), (("die",), 128 + 9)])
def test_its_exit_code_is_the_commands(waiting: dict[str, str], words: tuple[str, ...], code: int) -> None:
    assert told(waiting, *words)[0] == code


def test_a_bug_is_a_traceback_and_the_next_command_runs(waiting: dict[str, str]) -> None:
    code, _, err = told(waiting, "raise")
    assert code == 1 and err.endswith("RuntimeError: a bug\n")
    assert told(waiting, "exit", "0")[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_who_asked_for_it(waiting: dict[str, str], number: int) -> None:
    process = start(waiting, "wait")
    assert process.stdout is not None
    fork = psutil.Process(int(process.stdout.readline()))
    process.send_signal(number)
    process.communicate(timeout=WAITING)
    ended([fork])


POOL = """
from concurrent.futures import ProcessPoolExecutor
from joblib import Parallel, delayed
pool = ProcessPoolExecutor(1)
print(pool.submit(abs, -3).result(), sum(Parallel(n_jobs=2)(delayed(abs)(-n) for n in range(4))))
"""


def test_a_command_that_leaves_pools_of_processes_open_ends_as_it_would_by_itself(
    waiting: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "pool.py").write_text(POOL)
    assert told(waiting, "run", str(tmp_path / "pool.py")) == (0, "3 6\n", "")


def test_a_command_of_another_environment_runs_by_itself(waiting: dict[str, str]) -> None:
    assert told({**waiting, "OMP_NUM_THREADS": "3"}, "exit", "0")[0] == ALONE
    assert told({**waiting, "SHLVL": "3", "OLDPWD": "/"}, "exit", "0")[0] == 0


def test_a_stage_that_dvc_starts_runs_in_a_fork(waiting: dict[str, str], tmp_path: Path) -> None:
    stages = {
        name: {"cmd": f"ml stage {name} --help > {name}", "outs": [name]} for name in ("train", "validate")
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    environment = programs.environment(own_code=True, **waiting)
    for words in ("init --no-scm", "repro"):
        done = programs.run([sys.executable, "-m", "dvc", *words.split()], cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "train").read_text() == ""  # what these tests run instead prints nothing
    assert "Usage" in (tmp_path / "validate").read_text()  # no process waits for it


def test_where_code_of_ours_has_changed_since_a_command_runs_by_itself(tmp_path: Path) -> None:
    with preloaded.preloaded(tmp_path / "others", COMMAND, ["tests.code.imported"]):
        there = {preloaded.FOLDER: str(tmp_path)}
        assert told(there, "exit", "0")[0] == 0
        os.utime(Path(__file__).with_name("imported.py"))
        assert told(there, "exit", "0")[0] == ALONE


def test_where_nobody_waits_a_command_runs_by_itself(tmp_path: Path, waiting: dict[str, str]) -> None:
    assert told({}, "exit", "0")[0] == ALONE
    assert told(waiting, "exit", "0", name="unknown")[0] == ALONE
    there = {preloaded.FOLDER: str(tmp_path)}
    assert told(there, "exit", "0")[0] == ALONE
    with preloaded.preloaded(tmp_path / "others", COMMAND, []):
        assert told(there, "exit", "0")[0] == 0
    assert told(there, "exit", "0")[0] == ALONE
    long = tmp_path / ("long" * 30)
    long.mkdir()
    with preloaded.preloaded(long / "others", COMMAND, []):
        assert told({preloaded.FOLDER: str(long)}, "exit", "0")[0] == ALONE


def test_the_process_ends_with_its_caller(tmp_path: Path) -> None:
    program = (
        "import os, psutil, sys; from pathlib import Path; from pipelines.base.preloaded import preloaded\n"
        "with preloaded(Path(sys.argv[1]), 'colorsys', []):\n"
        "    print(*(child.pid for child in psutil.Process().children()), flush=True)\n"
        "    os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", program, str(tmp_path / "socket")]
    number = int(subprocess.run(command, env=environment, capture_output=True, text=True).stdout)
    ended([psutil.Process(number)] if psutil.pid_exists(number) else [])


def ended(processes: list[psutil.Process]) -> None:
    left = psutil.wait_procs(processes, timeout=WAITING)[1]
    assert not [process for process in left if process.status() != psutil.STATUS_ZOMBIE]


def test_a_stage_asks_for_a_fork_of_its_process(tmp_path: Path, waiting: dict[str, str]) -> None:
    environment = programs.environment(own_code=True, **waiting)
    helped = {
        stage: programs.run(["ml", "stage", stage, "--help"], env=environment).stdout for stage in STAGES
    }
    assert [stage for stage, said in helped.items() if said] == ["validate"]  # whose process is not there


def test_train_and_verify_have_processes_of_their_own_which_begin_once(tmp_path: Path) -> None:
    def begun(stage: str) -> list[str]:
        found = list(reproduce.ahead(f"> ml stage {stage}\n", str(tmp_path), COMMAND))
        with contextlib.ExitStack() as begun:
            for process in found:
                begun.enter_context(process)
            return sorted(path.name for path in tmp_path.iterdir())

    assert begun("validate") == ["others"]
    assert begun("train") == ["others", "verify"]
    assert not list(reproduce.ahead("> ml stage train\n", str(tmp_path), COMMAND))
    assert not list(reproduce.ahead("Running stage 'train':\n", str(tmp_path / "new"), COMMAND))


def test_what_reproduce_imports_ahead_exists() -> None:
    for name in {name for ahead in reproduce.AHEAD.values() for name in ahead}:
        preloaded._call(name)
    with pytest.raises(AttributeError):
        preloaded._call("pipelines.training.validate:no_function")
