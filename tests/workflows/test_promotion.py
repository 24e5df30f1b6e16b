"""The real `release` and `rollback`, by act, where hosts follow the ledger; and what a host says to it."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import yaml

from pipelines.artifacts.host import Slots
from pipelines.base.errors import UserError
from pipelines.host import trust
from pipelines.host.host import Host
from pipelines.local import act, events, github
from pipelines.local.act import Place, Run
from pipelines.local.rules import Rules
from pipelines.registry import merged
from pipelines.registry.ledger import BRANCH, Entry, Ledger
from pipelines.registry.signer import VARIABLE
from tests.project import git
from tests.workflows.conftest import ROOT

pytestmark = pytest.mark.slow
PULL = {"GREENLIGHT_PULL": "true"}
REPOSITORY = "you/rain"
LATER = "b" * 64  # a release that nobody built


@dataclass
class Team:
    """A repository with its rulesets, its deploy key and what was released in it."""

    place: Place
    main: Path  # its checkout
    key: asyncssh.SSHKey

    @property
    def secrets(self) -> dict[str, str]:
        return {VARIABLE: self.key.export_private_key().decode()}

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.main)

    def head(self) -> str:
        return git(self.main, "ls-remote", "origin", f"refs/heads/{BRANCH}")

    def entry(self, environment: str) -> Entry:
        found = self.ledger.wanted(environment)
        assert found is not None
        return found

    def host(self, environment: str) -> Host:
        """One that takes the word of this key alone."""
        home = self.main.with_name("hosts")
        host = Host(
            environment=environment,
            home=home,
            folder=home / environment,
            tools=home / "tools",
            edge_url="http://127.0.0.1:1",
            admin_url="http://127.0.0.1:1",
            models=[Slots(name="rain", blue=1, green=1)],
            socket=home / "s",
            model="rain",
        )
        host.place.mkdir(parents=True, exist_ok=True)
        (home / "list").write_text(f"ci {self.key.export_public_key().decode()}")
        trust.allow(home / "list", host.folder)
        return host

    def believes(self, environment: str) -> str | None:
        """Whose word a host takes what is wanted for. UserError where nobody's."""
        return trust.believe(self.host(environment), self.ledger, self.ledger.look(environment))

    def change(self, files: dict[str, str]) -> str:
        """Merge these files; the commit."""
        for name, text in files.items():
            (self.main / name).write_text(text)
        git(self.main, "add", "--all")
        who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        git(self.main, *who, "commit", "--quiet", "--allow-empty", "--message", "merged")
        git(self.main, "push", "--quiet", "origin", "HEAD:refs/heads/main")
        return git(self.main, "rev-parse", "HEAD")

    def roll_back(self, **options: Any) -> Run:
        path, given = ".github/workflows/rollback.yml", {"environment": "production"}
        event = events.workflow_dispatch(REPOSITORY, path, given)
        return act.run("rollback", event, self.place, **{"secrets": self.secrets} | options)

    def refused(self, run: Run, job: str, why: str) -> None:
        """The run is red, says one sentence, and the ledger is as it was."""
        log = run.log.read_text()
        assert run.code != 0 and run.jobs[job] == "failure", log
        said = [line for line in log.splitlines() if line.startswith(f"{job} | ml: ")]
        assert len(said) == 1 and why in said[0] and "Traceback" not in log, said


@pytest.fixture(scope="module")
def team(yours: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", f"{REPOSITORY}.git")
    origin = folder / f"{REPOSITORY}.git"
    main = Path(shutil.copytree(yours, folder / "main", ignore=shutil.ignore_patterns("cache")))
    git(main, "remote", "add", "origin", str(origin))
    config = "[core]\n    remote = kept\n['remote \"kept\"']\n    url = {}\n"
    key = asyncssh.generate_private_key("ssh-ed25519")
    rules = Rules.of(ROOT / ".github/rulesets/main.json")
    with github.serve(folder / "state", origin, REPOSITORY, rules) as api:
        public = key.export_public_key().decode()
        github.call(f"{api}/repos/{REPOSITORY}/keys", "POST", {"title": "ledger", "key": public})
        home = {"GREENLIGHT_HOME": str(folder / "home")}
        place = Place(origin, folder / "state", REPOSITORY, api, PULL, home)
        team = Team(place, main, key)
        team.change({".dvc/config": config.format(yours / ".dvc/cache")})
        yield team


@pytest.fixture(scope="module")
def released(team: Team) -> Run:
    """The whole of `release`, after a merge."""
    after = git(team.main, "rev-parse", "HEAD")
    before = git(team.main, "rev-parse", "HEAD~1")
    return act.run("release", events.push(REPOSITORY, before, after), team.place, secrets=team.secrets)


def test_a_merge_goes_through_train_build_rehearse_and_promote(team: Team, released: Run) -> None:
    ran = {"train", "build", "rehearse", "promote"}
    assert released.code == 0, released.log.read_text()
    assert {job for job, result in released.jobs.items() if result == "success"} == ran
    assert {released.jobs[job] for job in set(released.jobs) - ran} == {"skipped"}
    wanted = team.entry("staging")
    assert f"`{wanted.release[:12]}`: took the traffic" in released.summary
    assert "To deploy, attach a host" not in released.summary  # hosts follow the ledger


def test_what_was_built_and_promoted_is_what_a_host_with_a_list_of_keys_deploys(
    team: Team, released: Run
) -> None:
    staging, production = team.entry("staging"), team.entry("production")
    assert (staging.why, production.why) == ("release", "promote")
    assert staging.release == production.release and staging.commit == git(team.main, "rev-parse", "HEAD")
    for environment in ("staging", "production"):
        assert team.believes(environment) == "ci"
    built = team.place.state / f"artifacts/{released.id}/release/{production.release}"
    merged.check(production, built, team.main)
    shutil.copytree(built, team.main.with_name("changed"), dirs_exist_ok=True)
    changed = team.main.with_name("changed")
    (changed / "bento/src/bentofile.yaml").write_text("service: evil:S")
    with pytest.raises(UserError, match="is not the one of the commit"):  # the check can fail
        merged.check(production, changed, team.main)


@pytest.fixture
def later(team: Team, released: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The release before; production wants a later one. The ledger is put back at the end."""
    before, ref = git(team.place.origin, "rev-parse", BRANCH), f"refs/heads/{BRANCH}"
    first = team.entry("production")
    monkeypatch.setenv(VARIABLE, team.secrets[VARIABLE])
    team.ledger.write("production", Entry(release=LATER, commit=first.commit, why="promote", by="t"))
    monkeypatch.delenv(VARIABLE)
    yield first.release
    git(team.place.origin, "update-ref", ref, before)
    shutil.rmtree(team.main.with_name("hosts"), ignore_errors=True)  # what it has followed


def test_a_rollback_writes_what_the_ledgers_history_says_and_a_second_one_is_not_green(
    team: Team, later: str
) -> None:
    done = team.roll_back()
    assert done.code == 0 and done.jobs == {"rollback": "skipped", "ledger": "success"}, done.log.read_text()
    entry, head = team.entry("production"), team.head()
    assert (entry.release, entry.why) == (later, "rollback") and team.believes("production") == "ci"
    assert "production goes back" in done.summary and "signed with SHA256:" in done.summary
    team.refused(team.roll_back(), "ledger", "names no other release that may be gone back to")
    assert team.head() == head


def test_a_rollback_without_the_key_writes_nothing(team: Team, later: str) -> None:
    head = team.head()
    team.refused(team.roll_back(secrets={}), "ledger", f"give the job the secret {VARIABLE}")
    assert team.head() == head and team.entry("production").release == LATER


# --- `promote` alone: the job as it is in release.yml, in a file without the jobs that it waits for ---------


@pytest.fixture
def promote(team: Team, released: Run) -> Iterator[Callable[..., Run]]:
    """promote(secrets, contents="write"): run it. main and the ledger are put back at the end."""
    before = {ref: git(team.place.origin, "rev-parse", ref) for ref in ("refs/heads/main", BRANCH)}
    definition = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    job = definition["jobs"]["promote"]

    def run(secrets: dict[str, str], contents: str = "write") -> Run:
        alone = {name: value for name, value in job.items() if name != "needs"}
        alone["permissions"] = {"contents": contents}
        text = {"name": "release", "on": {"push": {}}, "permissions": {}, "jobs": {"promote": alone}}
        sha = team.change({".github/workflows/release.yml": json.dumps(text)})
        return act.run("release", events.push(REPOSITORY, sha, sha), team.place, secrets=secrets)

    yield run
    for ref, sha in before.items():
        git(team.place.origin, "update-ref", f"refs/heads/{ref.removeprefix('refs/heads/')}", sha)
    git(team.main, "reset", "--quiet", "--hard", before["refs/heads/main"])


def plant(team: Team) -> Entry:
    """Somebody writes staging's entry past the rulesets, with no key."""
    planted = team.entry("staging").model_copy(update={"release": LATER, "why": "release"})
    team.ledger.write("staging", planted)
    return planted


def test_promote_without_the_key_fails_where_staging_is_signed(team: Team, promote) -> None:
    head = team.head()
    team.refused(promote({}), "promote", f"give the job the secret {VARIABLE}")
    assert team.head() == head


def test_promote_signs_nothing_that_nobody_known_wrote(team: Team, promote) -> None:
    plant(team)
    head = team.head()
    team.refused(promote(team.secrets), "promote", "is not signed, so it is not signed again here")
    assert team.head() == head


@pytest.mark.parametrize(
    ("contents", "why"),
    [
        ("read", "Permission to you/rain.git denied to github-actions[bot]"),
        ("write", "Repository rule violations found for refs/heads/environments"),
    ],
)
def test_the_jobs_token_writes_no_ledger_that_it_has_no_right_to(
    team: Team, promote, contents: str, why: str
) -> None:
    plant(team)
    head = team.head()
    team.refused(promote({}, contents), "promote", why)
    assert team.head() == head


def test_nor_does_a_key_that_is_no_deploy_key_here(team: Team, promote) -> None:
    head = team.head()
    stranger = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    team.refused(promote({VARIABLE: stranger}), "promote", "is signed with another key than SHA256:")
    assert team.head() == head
