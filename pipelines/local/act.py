"""Run a real workflow file here: act in host mode, remote actions replaced by the stand-ins in actions/."""

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import psutil
import yaml

from pipelines.base import git, programs
from pipelines.base.console import step
from pipelines.base.errors import UserError
from pipelines.base.files import read_json, write_json, write_text
from pipelines.local import rights, waits
from pipelines.local.events import MAIN, Event, describe, now, owner, user
from pipelines.local.runner import Place, environment, stand_ins

HOSTED = "ubuntu-24.04"
RUNNER = "GREENLIGHT_RUNNER"  # the repository variable that names a self-hosted runner's label
TRAINER = "GREENLIGHT_TRAINER"  # that of the machine that builds models
PROGRESS = re.compile(r"^\[ *\d+\.\d s\] (.*)")  # what console.step prints
LIBC = ctypes.CDLL(None)
LEFTOVERS = ("source", "act", "home", "secrets", "tokens.json", waits.FOLDER, "pid")  # of an ended run
TAIL = 30  # lines of a failed step that are shown
Told = Callable[[str], object] | None


@dataclass(frozen=True)
class Run:
    """A finished run. `jobs`: job id → success, failure or skipped."""

    id: int
    name: str
    path: str
    event: Event
    code: int
    jobs: Mapping[str, str]
    summary: str
    log: Path
    created_at: str = field(default_factory=now)
    attempt: int = 1
    checks: Mapping[str, str] = field(default_factory=dict)  # the same by the names that a job shows

    @property
    def conclusion(self) -> str:
        return "success" if self.code == 0 else "failure"

    def as_json(self, repository: str, default: str = MAIN) -> dict[str, Any]:
        """The run as GitHub's API and its `workflow_run` event describe it."""
        pull = self.event.payload.get("pull_request")
        pulls = [{key: pull[key] for key in ("number", "head", "base")}] if pull else []
        starter = self.event.payload.get("sender") or user(owner(repository))
        return {
            "id": self.id,
            "name": self.name,
            "path": self.path,
            "event": self.event.name,
            "status": "completed",
            "conclusion": self.conclusion,
            "head_branch": self.event.head_branch,
            "head_sha": self.event.head_sha or self.event.sha,
            "head_repository": pull["head"]["repo"] if pull else describe(repository, default=default),
            "repository": describe(repository, default=default),
            "run_number": self.id,
            "run_attempt": self.attempt,
            "triggering_actor": starter,
            "created_at": self.created_at,
            "pull_requests": pulls,
            "html_url": f"https://github.com/{repository}/actions/runs/{self.id}",
        }


def run(
    workflow: str,
    event: Event,
    place: Place,
    *,
    secrets: Mapping[str, str] | None = None,
    job: str | None = None,
    verbose: bool = False,
    again: int | None = None,
    told: Told = None,
) -> Run:
    """Run `.github/workflows/WORKFLOW.yml` of the event's commit in `place.origin`; wait for its end.

    A line of progress for each step, the whole log in a file that is named when the run fails. `job` runs
    one job (and those it needs), `verbose` shows everything, `again` is the run of which this is the next
    attempt: its id and its artifacts stay. `told` gets the lines of progress too. UserError before anything
    runs where the workflow does not exist or uses an action without a stand-in, and where no runner has a
    job's label."""
    known = read_json(file) if (file := place.state / "github.json").exists() else {}
    variables = {one["name"]: one["value"] for one in known.get("variables", {}).values()}
    place = replace(place, variables=variables | dict(place.variables))
    started, (number, folder) = now(), next_run(place.state, again)
    log = folder / "log.txt"
    attempt = 1 + (read_json(folder / "run.json")["run_attempt"] if again else 0)
    try:
        sha = check_out(place.origin, event, folder / "source")
        file = folder / "source/.github/workflows" / f"{workflow}.yml"
        if not file.is_file():
            names = sorted(path.stem for path in file.parent.glob("*.yml"))
            raise UserError(
                f"no workflow {workflow!r} in commit {sha[:12]}; it has: {', '.join(names) or 'none'}"
            )
        definition = yaml.safe_load(file.read_text())
        found = stand_ins(folder / "source", file)
        stranger = rights.from_fork(event)  # gets no secret
        given = {} if stranger else dict(secrets or {})
        asks = f"{place.api}/repos/{place.repository}/actions/runs/{number}/pending_deployments"
        served = asks if place.api != Place.api else ""
        given |= rights.hand_out(file, event, folder, environments(known, stranger), served)
        command = [
            *arguments(event, place, folder, given, number, attempt),
            *("--workflows", str(file.relative_to(folder / "source"))),
            *(f"--local-repository={name}={stand_in}" for name, stand_in in found.items()),
            *(["--job", job] if job else []),
        ]
        name, path = definition.get("name", workflow), f".github/workflows/{workflow}.yml"
        done = Run(number, name, path, replace(event, sha=sha), 0, {}, "", log, started, attempt)
        begun = done.as_json(place.repository, place.default) | {"conclusion": None}
        write_json(folder / waits.FOLDER / "run.json", begun)
        step(f"{name}: run {number}, {event.name}, commit {sha[:12]}")
        story = Story(name, log, verbose, told)
        code = follow(command, environment(place, event, folder), folder / "source", story)
    finally:
        for leftover in LEFTOVERS:
            if leftover != "home" or RUNNER not in place.variables:  # what a deploy leaves running has it
                remove(folder / leftover)
    if story.no_runner:
        raise UserError(
            f"{file.name}: no runner here has the label {story.no_runner!r}; set the variable {RUNNER}"
        )
    ran = story.jobs
    jobs = {key: ran.get(key, "skipped") for key in definition["jobs"] if job is None or key in ran}
    checks = {definition["jobs"][key].get("name", key): result for key, result in jobs.items()}
    done = replace(done, code=code, jobs=jobs, summary="\n".join(story.summaries), checks=checks)
    write_json(
        folder / "run.json",
        done.as_json(place.repository, place.default) | {"jobs": jobs, "checks": done.checks},
    )
    write_text(folder / "summary.md", done.summary)
    step(f"{name}: {', '.join(f'{key} {result}' for key, result in jobs.items())}")
    if code:
        step(f"{name}: the whole log is in {done.log}")
    return done


def environments(known: Mapping[str, Any], stranger: bool) -> dict[str, dict[str, Any]]:
    """What the API keeps of environments, each with its secrets as they are, which no stranger gets."""
    found = known.get("environments", {})
    secrets = {name: {} if stranger else one["secrets"] for name, one in found.items()}
    values = {name: {key: one["value"] for key, one in those.items()} for name, those in secrets.items()}
    return {name: one | {"secrets": values[name]} for name, one in found.items()}


def ended(state: Path) -> list[dict[str, Any]]:
    """The runs that have ended, as the API describes them, the newest first."""
    files = sorted(state.glob("runs/*/run.json"), key=lambda file: int(file.parent.name), reverse=True)
    return [read_json(file) for file in files]


def seen(state: Path) -> list[dict[str, Any]]:
    """The runs that have ended, and those with a job that waits or has waited for somebody to approve its
    environment, the newest first."""
    found = {run["id"]: run for run in ended(state)}
    for folder in state.glob("runs/*"):
        if status := waits.status(folder):
            run = read_json(folder / waits.FOLDER / "run.json") | {"status": status}
            found[run["id"]] = run
    return [found[number] for number in sorted(found, reverse=True)]


def next_run(state: Path, again: int | None = None) -> tuple[int, Path]:
    """The next run id, or one that is run again, and its folder. Leftovers of killed runs are removed."""
    runs = state / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    for old in runs.glob("*/pid"):
        if not Path(f"/proc/{old.read_text() or 0}").exists():
            end_steps(old.parent / "act")
            for leftover in LEFTOVERS:
                remove(old.parent / leftover)
    number = again or 1 + max((int(path.name) for path in runs.iterdir() if path.name.isdigit()), default=0)
    while not again:
        try:
            (runs / str(number)).mkdir()
            break
        except FileExistsError:
            number += 1
    write_text(runs / str(number) / "pid", str(os.getpid()))
    return number, runs / str(number)


def end_steps(folder: Path) -> None:
    """Kill a step that act had just forked when it was killed: it has no terminal yet to end with."""
    for process in psutil.process_iter():
        try:
            inside = (*process.cmdline(), f"{process.cwd()}/")
            if any(word.startswith(f"{folder.absolute()}/") for word in inside):
                for one in (*process.children(recursive=True), process):
                    one.kill()
        except psutil.Error:  # gone, a zombie, or another user's
            continue


def check_out(origin: Path, event: Event, folder: Path) -> str:
    """A clone at the event's commit: act takes the workflow file and `github.sha` from where it runs."""
    git.run("clone", "--quiet", "--shared", "--no-checkout", str(origin), str(folder))
    sha = event.sha or git.run("rev-parse", "--verify", "--quiet", f"{event.ref}^0", at=origin)
    branch = event.ref.removeprefix("refs/heads/")
    how = ("-B", branch) if branch != event.ref else ("--detach",)
    git.run("checkout", "--quiet", "--force", *how, sha, at=folder)
    return sha


def arguments(
    event: Event, place: Place, folder: Path, secrets: Mapping[str, str], number: int, attempt: int
) -> list[str]:
    write_json(folder / "event.json", dict(event.payload))
    write_text(folder / "secrets", "".join(f"{k}={json.dumps(v)}\n" for k, v in secrets.items()))
    labels = [HOSTED, "self-hosted", *filter(None, map(place.variables.get, (RUNNER, TRAINER)))]
    told = {
        "GITHUB_REPOSITORY": place.repository,
        "GITHUB_RUN_ID": str(number),
        "GITHUB_RUN_ATTEMPT": str(attempt),
        "GITHUB_API_URL": place.api,
    }
    if not (act := programs.find("act")):
        raise UserError("act is not installed; `make .venv/ready` brings it")
    if "DOCKER_HOST" not in {*os.environ, *place.environment}:
        told["DOCKER_HOST"] = ""  # act sets it where a socket is, whoever answers there
    return [
        *(act, event.name, "--json", "--rm", "--no-cache-server", "--action-offline-mode"),
        "--no-skip-checkout",  # else the workspace starts as a copy of the clone
        *("--eventpath", str(folder / "event.json"), "--action-cache-path", str(folder / "act")),
        *("--actor", place.repository.partition("/")[0]),
        *("--secret-file", str(folder / "secrets"), "--var-file", os.devnull, "--input-file", os.devnull),
        *("--env-file", os.devnull),
        *(f"--platform={label}=-self-hosted" for label in labels),
        *(f"--var={name}={value}" for name, value in place.variables.items()),
        *(f"--env={name}={value}" for name, value in told.items()),
    ]


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def follow(command: list[str], environment: Mapping[str, str], folder: Path, story: "Story") -> int:
    process = programs.start(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A killed caller must leave no run behind it (PR_SET_PDEATHSIG). Not SIGTERM: act hangs when that
        # comes while it starts a step. Steps end with their terminal.
        preexec_fn=lambda: LIBC.prctl(1, signal.SIGKILL),
    )
    assert process.stdout is not None
    try:
        story.tell(process.stdout)
        return process.wait()
    finally:
        if process.poll() is None:  # Ctrl-C: act stops its steps when it is asked to
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


class Story:
    """Reads act's JSON lines while they come: progress for people, the log, results and summaries."""

    def __init__(self, name: str, log: Path, verbose: bool, told: Told = None) -> None:
        self.name, self.log, self.verbose, self.told = name, log, verbose, told
        self.jobs: dict[str, str] = {}
        self.summaries: list[str] = []
        self.no_runner = ""
        self._output: dict[str, list[str]] = {}
        self._started: dict[str, float] = {}
        self._tolerant: set[str] = set()

    def tell(self, lines: IO[str]) -> None:
        with self.log.open("w", encoding="utf-8") as log:
            for line in lines:
                for text in self.read(line):
                    log.write(text + "\n")
                    log.flush()

    def read(self, line: str) -> Iterator[str]:
        """Take in one line of act; the lines of the log that it makes."""
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            if line.strip():
                if not line.startswith("Error: Job"):  # the results say so already
                    self._print(line.rstrip())
                yield line.rstrip()
            return
        job, message = entry.get("jobID", ""), entry.get("msg", "").rstrip()
        if "unsupported platform" in message:
            self.no_runner = message.partition("-P ")[2].partition("=")[0]
        if entry.get("raw_output"):
            self._output.setdefault(job, []).append(message)
            if self.verbose:
                self._print(f"{job} | {message}")
            elif progress := PROGRESS.match(message):
                self._print(f"{job} |   {progress[1]}")
            yield f"{job} | {message}"
            return
        if entry.get("command") == "summary":
            self.summaries.append(entry["content"].rstrip("\n"))
        if "jobResult" in entry:
            self.jobs[job] = entry["jobResult"]
        if message == "Failed but continue next step":
            self._tolerant.add(job)
        self._step(job, entry)
        if "LocalRepositoryCache" not in message and "docker connection" not in message:
            yield f"{job or '-'} > {message}"

    def _step(self, job: str, entry: Mapping[str, Any]) -> None:
        if entry.get("stage") != "Main" or len(entry.get("stepID", ())) != 1:
            return
        # of a script its first line, of a pinned action its name
        shown = re.sub(r"@[0-9a-f]{40}$", "", (entry.get("step", "").strip() or "\n").splitlines()[0])
        if entry.get("msg", "").startswith("⭐"):
            self._output[job], self._started[job] = [], time.monotonic()
            self._print(f"{job} | {shown}")
        elif entry.get("stepResult") == "failure":
            if job in self._tolerant:  # continue-on-error: a verdict, such as the gate's, is not a crash
                self._tolerant.discard(job)
                self._print(f"{job} | {shown}: its exit code is an answer, and the job goes on")
                return
            seconds = time.monotonic() - self._started.get(job, time.monotonic())
            self._print(f"{job} | {shown}: failed after {seconds:.1f} s")
            if not self.verbose:
                for text in self._output.get(job, [])[-TAIL:]:
                    self._print(f"{job} |   {text}")
        elif entry.get("level") == "error":
            self._print(f"{job} | {entry.get('msg', '').rstrip()}")

    def _print(self, text: str) -> None:
        if self.told:
            self.told(text)
        step(f"{self.name}/{text}")
