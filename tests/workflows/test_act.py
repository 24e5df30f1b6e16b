"""Real runs of small workflow files: checkout, artifacts, cache, summaries, failures."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipelines.base.errors import UserError
from pipelines.local import act, events, github
from pipelines.local.act import Place
from tests.workflows.conftest import Commit, git

FIXTURES = Path(__file__).parent / "fixtures"
FILES = {
    ".github/workflows/first.yml": (FIXTURES / "first.yml").read_text(),
    ".github/workflows/second.yml": (FIXTURES / "second.yml").read_text(),
    ".github/actions/setup/action.yml": (FIXTURES / "setup.yml").read_text(),
    ".dvc/.gitignore": "/cache\n",
    "file.txt": "base\n",
}


@pytest.mark.slow
def test_a_pull_request_passes_from_job_to_job_and_to_the_next_workflow(
    place: Place, commit: Commit, api: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(FILES)
    commit({"file.txt": "head\n"}, "proposal")
    pull = github.call(f"{api}/pulls", "POST", {"title": "Better", "head": "proposal", "base": "main"})
    place = replace(place, api=api.split("/repos/")[0])

    first = act.run("first", events.pull_request(pull), place)
    assert (first.code, first.jobs) == (0, {"build": "success", "check": "success", "never": "skipped"}), (
        first.log.read_text()
    )
    assert first.summary == f"### It was {pull['merge_commit_sha']}"  # what github.sha is on GitHub
    assert git(place.origin, "branch", "--list", "stolen") == ""  # persist-credentials: false
    assert sorted(path.name for path in first.log.parent.iterdir()) == [
        "event.json",
        "log.txt",
        "run.json",
        "summary.md",
    ]
    progress = capsys.readouterr().err
    assert "first/build | actions/checkout" in progress
    assert "its exit code is an answer" in progress  # the step that may fail is told, and the job goes on

    event = events.workflow_run(place.repository, first.as_json(place.repository))
    for _ in range(2):
        second = act.run("second", event, place)
        assert second.jobs == {"post": "success"}, second.log.read_text()
    (comment,) = github.call(f"{api}/issues/{pull['number']}/comments")  # updated in place
    assert comment["body"].startswith("head\n")
    assert second.id == first.id + 2

    hosted = act.run(
        "first",
        events.pull_request(pull),
        replace(place, variables={"GREENLIGHT_RUNNER": "host-1"}, environment={"GREENLIGHT_HOME": "/h"}),
    )
    assert hosted.jobs["never"] == "success" and "on the host of /h" in hosted.summary
    (cache,) = [path for path in (place.state / "caches/refs-pull-1-merge").iterdir() if path.is_dir()]
    assert (cache / "seen").read_text().splitlines() == [pull["merge_commit_sha"]] * 2  # it outlives a run


def tiny(*steps: str, more: str = "") -> str:
    """A workflow with one job of these steps."""
    lines = "".join(f"      - {step}\n" for step in steps)
    return f"""
name: tiny
on: {{push: }}
permissions: {{}}
jobs:
  only:
    runs-on: ubuntu-24.04
    steps:
{lines}{more}"""


def run_tiny(place: Place, commit: Commit, text: str, **options: object) -> act.Run:
    sha = commit({".github/workflows/tiny.yml": text})
    return act.run("tiny", events.push(place.repository, "0" * 40, sha), place, **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_failed_step_fails_the_run_and_shows_its_last_lines_and_the_log(
    place: Place, commit: Commit, capsys: pytest.CaptureFixture[str]
) -> None:
    after = "  after:\n    needs: only\n    runs-on: ubuntu-24.04\n    steps: [{run: echo never}]\n"
    text = tiny("run: echo before; echo the reason; exit 3", "run: echo not reached", more=after)
    done = run_tiny(place, commit, text)
    assert (done.code, done.conclusion) == (1, "failure")
    assert done.jobs == {"only": "failure", "after": "skipped"}
    shown = capsys.readouterr().err
    assert "the reason" in shown and str(done.log) in shown and "not reached" not in shown
    assert "exit status 3" in done.log.read_text() or "exitcode '3'" in done.log.read_text()


@pytest.mark.slow
def test_secrets_and_inputs_reach_a_step_and_secrets_stay_out_of_the_log(
    place: Place, commit: Commit
) -> None:
    text = tiny('run: test "$KEY" = "a b\\"c" && echo "$KEY" && echo "for $NAME"').replace(
        "    steps:", "    env: {KEY: '${{ secrets.KEY }}', NAME: '${{ inputs.name }}'}\n    steps:"
    )
    text = text.replace("push: ", "workflow_dispatch: {inputs: {name: {type: string}}}")
    commit({".github/workflows/tiny.yml": text})
    event = events.workflow_dispatch(place.repository, ".github/workflows/tiny.yml", {"name": "July"})
    done = act.run("tiny", event, place, secrets={"KEY": 'a b"c'})
    log = done.log.read_text()
    assert done.code == 0, log
    assert "for July" in log and 'a b"c' not in log


ROOT_OF_PYTEST = "import getpass; print(f'pytest-of-{getpass.getuser()}')"


@pytest.mark.slow
def test_the_runners_environment_gives_way_to_a_jobs(place: Place, commit: Commit) -> None:
    text = tiny('run: test "$OF_RUNNER $OF_JOB" = "runner job"').replace(
        "    steps:", "    env: {OF_JOB: job}\n    steps:"
    )
    host = replace(place, environment={"OF_RUNNER": "runner", "OF_JOB": "runner"})
    done = run_tiny(host, commit, text)
    assert done.code == 0, done.log.read_text()


@pytest.mark.slow
def test_a_step_sees_no_environment_of_the_caller(
    place: Place, commit: Commit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere")
    monkeypatch.setenv("GITHUB_REF", "refs/heads/other")
    done = run_tiny(
        place, commit, tiny('run: test -z "$VIRTUAL_ENV" && test "$GITHUB_REF" = refs/heads/main')
    )
    assert done.code == 0, done.log.read_text()
    seen = act.environment(place, events.schedule("o/r"), tmp_path)
    assert str(Path(sys.executable).parent) not in seen["PATH"].split(":")


def test_the_jobs_of_two_people_of_one_machine_have_two_names(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """pytest, for one, refuses its folder below /tmp where somebody else has made it."""

    def folder(person: int) -> str:
        monkeypatch.setattr("os.getuid", lambda: person)
        seen = act.environment(place, events.schedule("o/r"), tmp_path)
        return subprocess.check_output([sys.executable, "-c", ROOT_OF_PYTEST], env=seen, text=True)

    assert folder(1000) == folder(1000) != folder(1001)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("uses: someone/thing@0123456789012345678901234567890123456789", "someone/thing@0123"),
        ("uses: someone/thing/sub@v1", "someone/thing/sub@v1"),
        ("uses: actions/checkout/sub@v1", "actions/checkout/sub@v1"),
        ("{uses: actions/checkout@v1, with: {lfs: true}}", "'lfs'"),
        ("uses: docker://alpine:3", "docker://alpine:3"),
        ("uses: ./.github/actions/none", "./.github/actions/none"),
        ("{if: false, uses: someone/thing@v1}", "someone/thing@v1"),
    ],
)
def test_an_action_without_a_stand_in_is_refused_by_name_before_anything_runs(
    place: Place, commit: Commit, step: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as refused:
        run_tiny(place, commit, tiny("run: echo started", step))
    assert message in str(refused.value)
    assert ".github/workflows/tiny.yml, line 10" in str(refused.value)
    assert "started" not in capsys.readouterr().err
    assert not list(place.state.glob("runs/*/log.txt"))


def test_an_unknown_action_inside_a_local_action_is_refused_where_it_stands(
    place: Place, commit: Commit
) -> None:
    inner = "name: x\ndescription: x\nruns:\n  using: composite\n  steps:\n    - uses: someone/thing@v1\n"
    commit({".github/actions/setup/action.yml": inner})
    with pytest.raises(
        UserError, match=r"\.github/actions/setup/action\.yml, line 6: uses: someone/thing@v1"
    ):
        run_tiny(place, commit, tiny("uses: ./.github/actions/setup"))


@pytest.mark.slow
def test_a_job_for_a_runner_that_is_not_here_is_an_error_not_a_skip(place: Place, commit: Commit) -> None:
    text = tiny("run: echo").replace("ubuntu-24.04", "the-host")
    with pytest.raises(UserError, match="'the-host'"):
        run_tiny(place, commit, text)
    assert run_tiny(replace(place, variables={"GREENLIGHT_RUNNER": "the-host"}), commit, text).code == 0


def test_a_workflow_that_does_not_exist_is_named_with_those_that_do(place: Place, commit: Commit) -> None:
    sha = commit({".github/workflows/tiny.yml": tiny("run: echo")})
    with pytest.raises(UserError, match=r"no workflow 'other'.*it has: tiny"):
        act.run("other", events.push(place.repository, sha, sha), place)


@pytest.mark.slow
def test_what_a_killed_caller_leaves_is_ended_by_the_next_run(place: Place, commit: Commit) -> None:
    sha = commit({".github/workflows/tiny.yml": tiny("run: sleep 300")})
    script = f"""
from pathlib import Path
from pipelines.local import act, events
place = act.Place(Path({str(place.origin)!r}), Path({str(place.state)!r}), {place.repository!r})
act.run("tiny", events.push(place.repository, {sha!r}, {sha!r}), place)
"""
    caller = subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert caller.stderr is not None
    assert any("sleep 300" in line for line in caller.stderr)
    caller.kill()
    caller.wait()
    assert (place.state / "runs/1/source").exists()
    second = run_tiny(place, commit, tiny("run: echo"))
    assert (second.id, second.code) == (2, 0)
    assert wait_until(lambda: not alive(place.state))
    assert not (place.state / "runs/1/source").exists() and not (place.state / "runs/1/act").exists()


@pytest.mark.slow
def test_a_step_that_outlived_its_act_is_ended_by_the_next_run(place: Place, commit: Commit) -> None:
    """act can die between the fork of a step and the step's terminal: then no hang-up reaches it."""
    script = place.state / "runs/1/act/workflow/0.sh"
    script.parent.mkdir(parents=True)
    script.write_text("sleep 300\nexit\n")
    other = place.state / "elsewhere.sh"
    other.write_text(script.read_text())
    gone = subprocess.Popen(["true"])
    gone.wait()
    (place.state / "runs/1/pid").write_text(str(gone.pid))
    with subprocess.Popen(["bash", str(script)]) as step, subprocess.Popen(["bash", str(other)]) as stranger:
        assert run_tiny(place, commit, tiny("run: echo")).code == 0
        assert step.wait(timeout=20) in (-signal.SIGKILL, 128 + signal.SIGKILL)  # or its child died first
        assert stranger.poll() is None
        for child in psutil.Process(stranger.pid).children():
            child.kill()
        stranger.kill()
    assert wait_until(lambda: not alive(place.state))


def wait_until(true: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.1)
    return true()


def alive(state: Path) -> list[str]:
    """Processes whose command line or folder is in the state."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, folder = (process / "cmdline").read_bytes().decode(), str((process / "cwd").readlink())
        except (OSError, UnicodeDecodeError):
            continue
        if str(state) in words or folder.startswith(str(state)):
            found.append(words)
    return found
