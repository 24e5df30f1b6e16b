"""A new user, from the template to a model that serves: `ml init`, an edit in the browser, the gate, a merge,
the deploy; against the stand-in of GitHub, which enforces what `ml init` has set."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from pipelines.artifacts.host import Outputs
from pipelines.base import git, loopback
from pipelines.base.errors import UserError
from pipelines.base.files import write_json
from pipelines.host import terraform
from pipelines.local import act, events, github, pushes
from pipelines.local.act import Place, Run
from pipelines.local.plans import Plan
from pipelines.local.stage import SHORT
from pipelines.pulls import making
from pipelines.registry.ledger import Ledger
from pipelines.registry.signing import Signers
from pipelines.release import image
from pipelines.rollout.rehearse import free_ports
from tests.delivery import registries
from tests.problems.yours import environment, run
from tests.shared import once
from tests.workflows import reviewer

REPOSITORY, OWNER, FRIEND, BRANCH = "ada/parcels", "ada", "grace", "main"
ENVIRONMENTS = ("staging", "production")
RUNNER = "our-host"
HOSTILE = "a'b;$(c)`d`"  # the branch of who edits in the browser


@dataclass
class User:
    """Somebody with a copy of the template on GitHub, a checkout of it, and a machine that may serve."""

    folder: Path
    place: Place
    name: str  # of the model
    ran: list[Run] = field(default_factory=list)

    @property
    def checkout(self) -> Path:
        return self.folder / "checkout"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def api(self, method: str, path: str, body: Any = None, login: str = OWNER) -> Any:
        where = f"{self.place.api}/repos/{REPOSITORY}{path}"
        return github.call(where, method, body, f"user:{login}")

    def ml(self, *verb: str) -> tuple[int, str]:
        """Run a verb in the checkout as its owner, at GitHub: the exit code, and what it printed."""
        told = {"GITHUB_TOKEN": f"user:{OWNER}", "GITHUB_API_URL": self.place.api}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.problems.yours.environment", lambda *of: environment(*of) | told | NAMED)
            done = run(self.checkout, "ml", *verb, check=False, home=self.home)
        return done.returncode, done.stdout + done.stderr

    def git(self, *command: str) -> str:
        return git.run(*command, at=self.checkout)

    def propose(self, branch: str, edit: tuple[str, str]) -> dict[str, Any]:
        """Edit a value of params.yaml on GitHub's page, which commits that alone, and open a pull request."""
        self.git("fetch", "--quiet", "origin")
        self.git("checkout", "--quiet", "-B", branch, f"origin/{BRANCH}")
        params = self.checkout / "params.yaml"
        before = params.read_text()
        params.write_text(before.replace(*edit))
        assert params.read_text() != before
        self.git("commit", "--quiet", "--message", "Update params.yaml", "params.yaml")
        self.git("push", "--quiet", "origin", branch)
        pull = {"title": f"Train with {edit[1]}", "head": branch, "base": BRANCH}
        return dict(self.api("POST", "/pulls", pull))

    def workflow(self, name: str, event: events.Event, place: Place | None = None) -> Run:
        """What GitHub does at an event; it must end green."""
        self.ran.append(done := act.run(name, event, place or self.place))
        assert done.code == 0, done.log.read_text()
        return done

    def reviewed(self, name: str, event: events.Event, word: str) -> Run:
        """A workflow in which one job waits for the friend's word; until then production is as it was."""
        before = self.production()

        def say(run: int) -> None:
            assert self.production() == before
            reviewer.review(api, run, FRIEND, word)

        api = f"{self.place.api}/repos/{REPOSITORY}"
        listen, lines = reviewer.listener(api, name, say)
        done = act.run(name, event, self.place, told=listen)
        assert len(lines) == 1 and f"waits for {FRIEND} to approve the environment production" in lines[0]
        return done

    def production(self) -> tuple[str | None, str | None]:
        """The release that production is to run, and the one that it runs."""
        entry = Ledger(self.checkout).wanted("production")
        return entry.release if entry else None, self.running("production")

    def running(self, environment: str) -> str | None:
        edge = Outputs.read(self.home / environment).edge_url
        try:
            with loopback.ask(f"{edge}/release", timeout=10) as answer:
                return str(json.load(answer)["release"])
        except HTTPError:  # nothing is deployed
            return None

    def judged(self, pull: dict[str, Any]) -> dict[str, Any]:
        """`propose` and `judge`, as the push to a pull request starts them; the pull request after them."""
        built = self.workflow("propose", events.pull_request(pull, "synchronize"))
        self.workflow("judge", events.workflow_run(REPOSITORY, built.as_json(REPOSITORY)))
        return dict(self.api("GET", f"/pulls/{pull['number']}"))

    def checked(self, pull: dict[str, Any]) -> None:
        """`ci`, of which a short part runs here, and the word of another person."""
        short = {**self.place.environment, **SHORT}
        place = Place(self.place.origin, self.place.state, REPOSITORY, self.place.api, {}, short)
        self.workflow("ci", events.pull_request(pull, "synchronize"), place)
        self.api("POST", f"/pulls/{pull['number']}/reviews", {"event": "APPROVE"}, FRIEND)

    def status(self, pull: dict[str, Any]) -> str:
        """State and sentence of the gate's status on the head."""
        found = self.api("GET", f"/commits/{pull['head']['sha']}/status")["statuses"]
        return next(f"{s['state']}: {s['description']}" for s in found if s["context"] == "greenlight/gate")

    def merge(self, pull: dict[str, Any]) -> events.Event:
        before = git.run("rev-parse", BRANCH, at=self.place.origin)
        merged = self.api("PUT", f"/pulls/{pull['number']}/merge", {"sha": pull["head"]["sha"]})
        return events.push(REPOSITORY, before, str(merged["sha"]))


NOT_ENFORCED = "private repository without Pro: rules are not enforced; whoever can push can merge"
NAMED = {"GITHUB_REPOSITORY": REPOSITORY}  # the remote of the checkout is a folder here


@contextmanager
def signed_up(folder: Path, yours: Path, shared: Path, plan: Plan) -> Iterator[User]:
    """A copy of the template with a problem of one's own, on this plan of GitHub; nothing is set up."""
    origin = folder / "origin.git"
    git.run("init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(origin))
    shutil.copytree(yours, folder / "checkout", symlinks=True)
    git.run("remote", "add", "origin", str(origin), at=folder / "checkout")
    for field_, value in {"user.name": OWNER, "user.email": f"{OWNER}@example.org"}.items():
        git.run("config", field_, value, at=folder / "checkout")
    git.run("push", "--quiet", "origin", f"HEAD:refs/heads/{BRANCH}", at=folder / "checkout")
    home = folder / "home"
    home.mkdir()
    for name in ("tools", "venvs"):
        (shared / name).mkdir(exist_ok=True)
        (home / name).symlink_to(shared / name)
    first = free_ports()
    for name, port in zip(ENVIRONMENTS, (first, first + 4), strict=True):
        write_json(home / name / "terraform.tfvars.json", {"port": port})
    with github.serve(folder / "state", origin, REPOSITORY, plan=plan) as api:
        there = given(*image.CERTIFICATES, "PIP_INDEX_URL")  # for the image's packages
        there |= {"GREENLIGHT_HOME": str(home), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        place = Place(origin, folder / "state", REPOSITORY, api, {}, there)
        pushes.door("enter", folder / "checkout", f"{api}/repos/{REPOSITORY}", login=f"user:{OWNER}")
        user = User(folder, place, "parcel-delay")
        user.api("PUT", f"/collaborators/{FRIEND}", {"permission": "maintain"})
        try:
            yield user
        finally:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("GREENLIGHT_HOME", str(home))
                for name in ENVIRONMENTS:
                    terraform.down(name, user.name, home)


def given(*names: str) -> dict[str, str]:
    """Those of this process's environment."""
    return {name: os.environ[name] for name in names if os.environ.get(name)}


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """HOST/PATH in a registry on this machine; `none` where it can build no image, or has no registry."""
    if reason := image.missing() or (None if shutil.which(registries.PROGRAM) else registries.PROGRAM):
        print(f"the part with an image is left out: {reason}")
        yield "none"
        return
    with registries.real(folder) as name:
        yield name


@pytest.mark.slow
def test_from_the_template_to_a_model_that_serves(
    yours: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shared = once(tmp_path_factory, "shared", lambda folder: None)
    with (
        registry(tmp_path / "registry") as images,
        signed_up(tmp_path, yours, shared, Plan.PUBLIC) as user,
    ):
        code, said = user.ml("doctor")
        assert code == 3, said
        asked = ["--owners", f"@{OWNER} @{FRIEND}", "--reviewers", f"@{FRIEND}", "--runner", RUNNER]
        variables = {"GREENLIGHT_REGISTRY": images} | given("GREENLIGHT_BASE_IMAGE")
        code, said = user.ml("init", *asked, *(f"--var={name}={value}" for name, value in variables.items()))
        assert code == 0, said
        assert user.git("status", "--porcelain") == ""
        runner = {"name": "box", "labels": [RUNNER], "runner_group_id": 1}
        user.api("POST", "/actions/runners/generate-jitconfig", runner)
        for name in ENVIRONMENTS:
            code, said = user.ml("infra", "up", "--env", name, "--allowed-signers", ".github/allowed_signers")
            assert code == 0, said

        pull = user.propose(HOSTILE, ("seed: 7", "seed: 8"))
        made = user.judged(pull)
        look_at_what_the_judge_made(user, pull["head"]["sha"], made)
        with pytest.raises(UserError, match='status check "lint" is expected'):
            user.merge(made)
        user.checked(made)
        release = user.reviewed("release", user.merge(made), "approved")
        assert release.code == 0, release.log.read_text()
        for name in ENVIRONMENTS:
            running = user.running(name)
            entry = Ledger(user.checkout).wanted(name)
            assert entry and running == entry.release
            assert entry.commit == git.run("rev-parse", BRANCH, at=user.place.origin)
            assert (entry.image or "").startswith(f"{images}@sha256:") == (images != "none")

        path, inputs = ".github/workflows/rollback.yml", {"environment": "production"}
        undone = user.reviewed("rollback", events.workflow_dispatch(REPOSITORY, path, inputs), "rejected")
        assert undone.jobs["rollback"] == "failure" and undone.log.read_text().count("⭐ Run Main") == 1
        assert user.production() == (running, running)

        shutil.rmtree(user.checkout)
        git.run("clone", "--quiet", str(user.place.origin), str(user.checkout))
        code, said = user.ml("release", "--verify", running)
        assert code == 0, said
        code, said = user.ml("doctor", "--json")
        off = {
            c["what"]: c["says"]
            for c in json.loads(said[: said.rindex("}") + 1])["checks"]
            if c["state"] != "on"
        }
        optional = {"runs of drift", "Docker", *(f"{name} address" for name in ENVIRONMENTS)}
        assert code == 0 and set(off) <= optional, off


def look_at_what_the_judge_made(user: User, proposed: str, made: dict[str, Any]) -> None:
    """No training but the judge's, no code of the head: dvc.lock alone, on top of what was proposed, signed
    with the key that hosts are told of; status and report are on that commit."""
    built, judged = user.ran
    assert "the workflow `judge` trains" in built.summary and judged.jobs["build"] == "success"
    assert not (user.place.state / f"artifacts/{built.id}").exists()
    head, origin = made["head"]["sha"], user.place.origin
    assert git.run("rev-parse", f"{head}^", at=origin) == proposed
    assert git.changes(proposed, head, origin) == ["dvc.lock"]
    assert git.run("log", "-1", "--format=%s", head, at=origin) == making.MESSAGE
    content = git.tried("cat-file", "commit", head, at=origin).out
    assert Signers.load(user.checkout / ".github/allowed_signers").who(content) == "greenlight-ledger"
    assert user.status(made).startswith("success")
    (comment,) = user.api("GET", f"/issues/{made['number']}/comments")
    assert "**The judge made `dvc.lock`**" in comment["body"] and head[:12] in comment["body"]


def test_without_rulesets_the_doctor_says_what_is_not_enforced(yours: Path, tmp_path: Path) -> None:
    """A private repository on GitHub's free plan: all that can be set is, and the rest has its sentence."""
    (shared := tmp_path / "shared").mkdir()
    with signed_up(tmp_path, yours, shared, Plan.FREE_PRIVATE) as user:
        code, said = user.ml("init", "--owners", f"@{OWNER}", "--yes")
        assert code == 3 and NOT_ENFORCED in " ".join(said.split())
        code, said = user.ml("doctor", "--json")
        checks = {c["what"]: c for c in json.loads(said[: said.rindex("}") + 1])["checks"]}
        assert code == 3 and checks["ruleset main"]["says"] == NOT_ENFORCED
        assert {checks[f"environment {name}"]["state"] for name in ENVIRONMENTS} == {"off"}
        assert checks["label gate:override"]["state"] == checks["merge commits"]["state"] == "on"
        pull = user.propose("unchecked", ("seed: 7", "seed: 8"))
        user.merge(pull)  # it is as the doctor says
