"""The stage of the demo: what a chapter can do as the author, as GitHub, as the callers of production."""

import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.artifacts.host import Outputs
from pipelines.base import git, loopback, programs
from pipelines.base.console import through
from pipelines.base.errors import UserError
from pipelines.base.files import read_json, write_json, write_text
from pipelines.core import params as parameters
from pipelines.local import act, aside, events, github, proposing, pushes, rights
from pipelines.local.act import Place, Run
from pipelines.local.aside import Aside
from pipelines.local.rules import Rules
from pipelines.registry.signer import VARIABLE
from pipelines.report import markdown
from pipelines.rollout.rehearse import free_ports

FOLDER = Path(".greenlight/demo")
REPOSITORY = "you/greenlight"
AUTHOR = {f"GIT_{role}_NAME": "author" for role in ("AUTHOR", "COMMITTER")}
AUTHOR |= {f"GIT_{role}_EMAIL": "author@localhost" for role in ("AUTHOR", "COMMITTER")}
ENVIRONMENTS = ("staging", "production")
STORAGE = "storage"  # the DVC remote
CHOSEN = "chosen"  # the proposals that were found
TRAIN = ("ml", "reproduce")
BAKE_SECONDS = 3.0
MARK = "GREENLIGHT_DEMO"  # in the environment of all that the demo starts, so that `down` finds it
REPLAY = (sys.executable, *"-m pipelines.cli ci replay --env production".split())
CHOOSE = (
    "import sys; from pipelines.problem import PROBLEM; from pipelines.local import proposing; "
    "proposing.write(PROBLEM, sys.argv[1])"
)
# What a forger adds to which files. A job can leave artifacts of its run under any free name, and say what it
# likes to the steps after it. Here an artifact is a folder.
LEFT = ("report", "verdict")
CODE = f"""

import json


def output(name: str, value: str) -> None:
    _append("GITHUB_OUTPUT", "model=false\\nreport=true\\n")
    for artifact in {LEFT}:
        folder = Path(os.environ["GREENLIGHT_ARTIFACTS"], os.environ["GITHUB_RUN_ID"], artifact)
        folder.mkdir(parents=True, exist_ok=True)
        folder.joinpath("gate.json").write_text(json.dumps({{"verdict": "PASS", "superior": True}}))
        folder.joinpath("report.md").write_text("## PASS")
"""
FORGED = {"pipelines/base/console.py": CODE, "dvc.lock": "# another model\n"}
REVIEWER = "maya"
# The whole suite takes longer than the demo: `ci` runs it on GitHub, here these parts of it.
SHORT = {
    "SKIP": "mypy,actionlint",
    "ONLY": "tests/code/test_files.py tests/code/test_params.py",
    "WORKERS": "0",
}


@contextmanager
def open_stage() -> Iterator["Stage"]:
    """A bare origin, the author's clone, GitHub's stand-in and a host of its own, in an empty folder."""
    folder = FOLDER.absolute()
    # What a company keeps between runs: GitHub's caches and the DVC remote.
    clear(folder, keep=(folder / "runs/caches", folder / STORAGE, folder / CHOSEN))
    (folder / "reports").mkdir(parents=True)
    console = Console(highlight=False)
    if changed := git.dirty(untracked=False):
        console.print(
            f"[yellow]The demo runs the last commit; not in it: {', '.join(changed)}", soft_wrap=True
        )
    origin = folder / "origin.git"
    git.run("init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    git.run("push", "--quiet", str(origin), "HEAD:refs/heads/main")
    git.run("clone", "--quiet", str(origin), str(folder / "author"))
    with github.serve(folder / "runs", origin, REPOSITORY, rules=Rules.of()) as api:
        environment = {MARK: str(folder), "GREENLIGHT_HOME": str(folder / "home")}
        os.environ.update(environment)
        first = free_ports()  # the environments share these: each needs four
        for name, port in zip(ENVIRONMENTS, (first, first + 4), strict=True):
            write_json(folder / "home" / name / "terraform.tfvars.json", {"port": port})
        variables = {act.RUNNER: "greenlight-host", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        place = Place(origin, folder / "runs", REPOSITORY, api, variables, environment)
        here = f"{api}/repos/{REPOSITORY}"
        pushes.door("enter", folder / "author", here, login=f"user:{events.owner(REPOSITORY)}")
        stage = Stage(folder, place, console, {VARIABLE: deploy_key(here)})
        with through(aside.Apart):
            yield stage


def deploy_key(repository: str) -> str:
    """A key that may write the ledger, made for this repository: its private half, the workflows' secret."""
    import asyncssh

    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key().decode()
    github.call(f"{repository}/keys", "POST", {"title": "ledger", "key": public, "read_only": False})
    return str(key.export_private_key().decode())


def clear(folder: Path, keep: Collection[Path]) -> None:
    """Delete all in `folder` but `keep`."""
    for path in folder.iterdir() if folder.exists() else ():
        if not any(kept.is_relative_to(path) for kept in keep):
            act.remove(path)
        elif path not in keep:
            clear(path, keep)


@dataclass(frozen=True)
class Stage:
    """What a chapter can do: act as the author, as GitHub, as the callers of production."""

    folder: Path
    place: Place
    console: Console
    secrets: Mapping[str, str]

    @property
    def clone(self) -> Path:
        """The author's."""
        return self.folder / "author"

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def must(self, held: bool, what: str) -> None:
        """The demo is a test too: a chapter that ends otherwise ends the demo."""
        if not held:
            raise UserError(f"the demo did not end as it must: {what}; logs are in {self.place.state}/runs")

    # the author

    def found(self, through: str) -> "Aside[dict[str, Any]]":
        """Give the repository a DVC remote, a folder here, with the data, up to `through`, and the model of
        `main`. Beside its training the author chooses what to propose, which is returned."""
        self.say("The author trains the model of main and pushes it to a DVC remote, which is a folder here.")
        self.author("make", ".venv/ready")
        self.author("ml", "restore")  # from the source: a demo that was stopped may have pushed a part
        if parameters.load(self.clone / "params.yaml").data.through != through:
            self.say(f"The newest months are for production: params.yaml says data.through: {through} here.")
            edit(self.clone / "params.yaml", {"data.through": through})
            self.author("ml", "ingest")
            self.author("dvc", "add", "--quiet", "data")
        if (bake := parameters.load(self.clone / "params.yaml").rollout.bake.seconds) > BAKE_SECONDS:
            self.say(f"A new release is watched for {BAKE_SECONDS:g} s here (in params.yaml {bake:g} s).")
            edit(self.clone / "params.yaml", {"rollout.bake.seconds": BAKE_SECONDS})
        asked = (self.clone / "dvc.lock", self.clone / "params.yaml", Path(str(proposing.__file__)))
        name = hashlib.sha256(b"".join(map(Path.read_bytes, asked))).hexdigest()
        if not (known := self.folder / CHOSEN / f"{name}.json").is_file():
            self.author("dvc", "repro", "--quiet", "prepare")
        chosen = Aside(lambda: self.choose(known))
        self.author("dvc", "remote", "add", "--default", "storage", str(self.folder / STORAGE))
        self.author(*TRAIN)
        self.author("dvc", "push", "--run-cache")
        self.author("git", "commit", "--quiet", "--all", "--message", "DVC keeps data and models in a folder")
        self.author("git", "push", "--quiet", str(self.place.origin), "HEAD:main")
        return chosen

    def choose(self, known: Path) -> dict[str, dict[str, Any]]:
        """The changes of params.yaml that the author proposes: those `known` from an earlier demo of the same
        model and code, else found in build/prepared.parquet."""
        if not known.is_file():
            known.parent.mkdir(exist_ok=True)
            self.say(f"The author looks for better settings, by `ml tune` with {proposing.TRIALS} trials.")
            self.author("python", "-c", CHOOSE, str(known))
        return dict(read_json(known))

    def draft(self, branch: str, changes: Mapping[str, Any] | None = None, onto: str = "origin/main") -> None:
        """Edit params.yaml (without `changes` by a small step), rebuild, push the model to the DVC remote,
        commit params.yaml and dvc.lock."""
        self.author("git", "fetch", "--quiet", "origin")
        self.author("git", "checkout", "--quiet", "-B", branch, onto)
        file = self.clone / "params.yaml"
        changes = changes or proposing.small(parameters.load(file))
        said = proposing.words(dict(changes))
        self.say(f"The author edits params.yaml ({said}), rebuilds the model and opens a pull request.")
        edit(file, changes)
        self.author(*TRAIN)
        self.author("dvc", "push", "--run-cache")
        self.author("git", "commit", "--quiet", "--message", f"Train with {said}", "params.yaml", "dvc.lock")

    def draft_forged(self, branch: str) -> None:
        """A commit whose own code leaves a verdict and a report, says that no model changed, and builds none:
        one attempt of forging the verdict."""
        self.author("git", "checkout", "--quiet", "-B", branch, "origin/main")
        for name, more in FORGED.items():
            write_text(self.clone / name, (self.clone / name).read_text(encoding="utf-8") + more)
        self.author("git", "commit", "--quiet", "--message", "Tidy the console", *FORGED)

    def open(self, branch: str) -> dict[str, Any]:
        """Push a branch as it is, and open its pull request."""
        self.author("git", "push", "--quiet", "--force", "origin", branch)
        title = git.run("log", "-1", "--format=%s", branch, at=self.clone)
        pull: dict[str, Any] = self.api(
            "POST", "/pulls", {"title": title, "head": branch, "base": "main", "body": ""}
        )
        return pull

    def follow_main(self, branch: str) -> None:
        """Rebase a branch on what is merged: the same files, so the same model."""
        self.author("git", "fetch", "--quiet", "origin")
        self.author("git", "checkout", "--quiet", branch)
        self.author("git", "rebase", "--quiet", "origin/main")

    def judge_forged(self, pull: Mapping[str, Any]) -> None:
        run = act.run("propose", events.pull_request(pull, "opened"), self.place)
        act.run("judge", events.workflow_run(REPOSITORY, run.as_json(REPOSITORY)), self.place)
        left = " and ".join(path.name for path in sorted(self.place.state.glob(f"artifacts/{run.id}/*")))
        self.say(f"A forger changes only {' and '.join(FORGED)}; their run leaves {left} of its own: PASS.")
        self.must(left == " and ".join(LEFT), f"the forging left {left or 'nothing'}")
        self.must(self.status(pull) in ("failure", "error"), "a forged proposal was let through")

    def author(self, *command: str) -> None:
        """Run a command in the author's clone, with its own environment; its progress goes to the screen."""
        if command[0] == "git":
            git.run(*command[1:], at=self.clone, given=AUTHOR)
            return
        environment = programs.environment(GREENLIGHT_VENV=sys.prefix, PYTHONPATH=".")  # as the runs of act
        environment |= AUTHOR
        environment["PATH"] = f"{self.clone}/.venv/bin:{environment['PATH']}"
        environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{self.folder}/author.db"
        code = aside.run(command, cwd=self.clone, env=environment)
        self.must(code == 0, f"{' '.join(command)} exited with {code} in {self.clone}")

    # GitHub

    def api(self, method: str, path: str, body: Any = None, token: str = rights.EVERYTHING) -> Any:
        return github.call(f"{self.place.api}/repos/{REPOSITORY}{path}", method, body, token)

    def workflow(self, name: str, event: events.Event, told: act.Told = None) -> Run:
        """Run a workflow, which must end green. `told` gets its lines of progress."""
        self.say(f"[dim].github/workflows/{name}.yml[/dim]")
        done = act.run(name, event, self.place, secrets=self.secrets, told=told)
        self.must(done.code == 0, f"workflow {name} failed: {done.log}")
        return done

    def build(self, pull: Mapping[str, Any]) -> Run:
        """The workflow `propose`."""
        return self.workflow("propose", events.pull_request(pull, "opened"))

    def judge(self, pull: Mapping[str, Any], run: Run) -> str:
        """The workflow `judge`; the report and the status, as a reviewer sees them. Returns its state."""
        self.workflow("judge", events.workflow_run(REPOSITORY, run.as_json(REPOSITORY)))
        (comment,) = self.api("GET", f"/issues/{pull['number']}/comments")
        path = write_text(self.folder / "reports" / f"{pull['head']['ref']}.md", comment["body"])
        markdown.show(path, details=False)
        return self.status(pull)

    def status(self, pull: Mapping[str, Any]) -> str:
        """Show the status of a proposal's commit. Returns its state."""
        (status,) = self.api("GET", f"/commits/{pull['head']['sha']}/status")["statuses"]
        colour = "green" if status["state"] == "success" else "red"
        self.say(
            f"Commit status [{colour}]{status['context']}: {status['state']}[/] ({status['description']})"
        )
        return str(status["state"])

    def review(self, pull: Mapping[str, Any]) -> None:
        """What the ruleset asks for besides the gate: `lint` and `tests`, and the word of another person."""
        runner = {**self.place.environment, **SHORT}
        done = act.run("ci", events.pull_request(pull, "opened"), replace(self.place, environment=runner))
        self.must(done.code == 0, f"workflow ci failed: {done.log}")
        self.api("PUT", f"/collaborators/{REVIEWER}", {"permission": "push"})
        self.api("POST", f"/pulls/{pull['number']}/reviews", {"event": "APPROVE"}, f"user:{REVIEWER}")
        shortened = ", ".join(f"{name}={value}" for name, value in SHORT.items())
        self.say(f"ci has run lint and tests, shortened here ({shortened}), and {REVIEWER} approves.")

    def merge(self, pull: Mapping[str, Any]) -> events.Event:
        """Merge, which pushes to main: that push."""
        before = git.run("rev-parse", "main", at=self.place.origin)
        merged = self.api("PUT", f"/pulls/{pull['number']}/merge", {"sha": pull["head"]["sha"]})
        self.say(f"{pull['title']!r} is merged.")
        return events.push(REPOSITORY, before, str(merged["sha"]))

    def release(self, push: events.Event, told: act.Told = None) -> None:
        """The workflow `release`, which a push to main starts."""
        self.workflow("release", push, told)
        for name in ENVIRONMENTS:
            self.say(f"{name} answers with release {self.running(name)[:12]} at {self.edge(name)}")

    def check_drift(self, month: str, told: act.Told = None) -> bool:
        """The workflow `drift` for a month; whether it asks for retraining, and so opens a pull request."""
        asked = events.workflow_dispatch(REPOSITORY, ".github/workflows/drift.yml", {"through": month})
        run = self.workflow("drift", asked, told)
        path = write_text(self.folder / "reports" / f"drift-{month}.md", run.summary)
        markdown.show(path)
        asks = bool(self.api("GET", f"/pulls?head=you:retrain/{month}&state=open"))
        self.must(("RETRAIN" in run.summary) == asks, f"the drift check's verdict for {month}: {path}")
        return asks

    def page(self) -> Path:
        """The static site of what is there now, by `ml page` in the author's clone."""
        self.author("git", "fetch", "--quiet", "origin")
        github = {"GITHUB_API_URL": self.place.api, "GITHUB_REPOSITORY": REPOSITORY}
        environment = programs.environment(own_code=True, GITHUB_TOKEN=rights.EVERYTHING, **github)
        code = aside.run(("ml", "page", "--out", str(self.folder / "page")), cwd=self.clone, env=environment)
        self.must(code == 0, f"ml page exited with {code} in {self.clone}")
        return self.folder / "page/index.html"

    def roll_back(self) -> None:
        """The workflow `rollback`, of production."""
        before, inputs = self.running("production"), {"environment": "production"}
        self.workflow(
            "rollback", events.workflow_dispatch(REPOSITORY, ".github/workflows/rollback.yml", inputs)
        )
        after = self.running("production")
        self.say(f"Production answered with {before[:12]}, and now with {after[:12]}.")
        self.must(after != before, "rollback changed nothing")

    # the callers of production

    def edge(self, environment: str) -> str:
        return Outputs.read(self.folder / "home" / environment).edge_url

    def running(self, environment: str) -> str:
        """The release that answers behind the edge."""
        with loopback.ask(f"{self.edge(environment)}/release", timeout=10) as answer:
            return str(json.load(answer)["release"])

    @contextmanager
    def load(self, month: str) -> Iterator[tuple[Path, Callable[[], None]]]:
        """Yields the file of a tally, and what begins to send a month's events to production, one a request,
        until the block ends."""
        tally, stop, callers = self.folder / "tally.json", self.folder / "stop", list[subprocess.Popen[str]]()
        command = [*REPLAY, "--month", month, "--tally", str(tally)]
        command += ["--one-row", "--rate", "200", "--until", str(stop)]
        with (self.folder / "replay.txt").open("w") as log:

            def begin() -> None:
                if not callers:
                    environment = programs.environment(own_code=True)
                    callers.append(programs.start(command, env=environment, stdout=log, stderr=log))

            try:
                yield tally, begin
            finally:
                stop.touch()
                codes = [caller.wait(timeout=60) for caller in callers]
        self.must(codes in ([0], [4]), f"the replay exited with {codes}: {log.name}")

    def send(self, months: Sequence[str]) -> None:
        """Whole months to production, each in batches, beside each other."""
        replay = functools.partial(aside.run, quiet=False, env=programs.environment(own_code=True))
        for sent in [Aside(functools.partial(replay, (*REPLAY, "--month", month))) for month in months]:
            self.must(sent.show() == 0, f"requests of {', '.join(months)} were lost")


def edit(path: Path, changes: Mapping[str, Any]) -> None:
    write_text(path, parameters.edited(path.read_text(encoding="utf-8"), changes))
