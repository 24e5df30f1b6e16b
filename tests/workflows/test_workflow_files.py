"""The workflow files themselves: pinned, least permission, no logic, clean by every checker."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.local.act import RUNNER, TRAINER
from pipelines.local.runner import STAND_INS, remote_uses, stand_ins
from tests.workflows.conftest import ROOT, WORKFLOWS

NAMES = ["ci", "drift", "infra", "judge", "page", "propose", "release", "rollback"]
BIN = Path(sys.executable).parent
GIT_ENVIRONMENT = {"PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin"}


def load(name: str) -> dict[str, Any]:
    found: dict[Any, Any] = yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text())
    found["on"] = found.pop(True, None) or found["on"]  # YAML 1.1 reads `on` as true
    return found


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name in NAMES:
        for key, job in load(name)["jobs"].items():
            yield name, key, job


JOBS = [pytest.param(name, job, id=f"{name}-{key}") for name, key, job in jobs()]


def test_these_workflows_are_there_under_their_names() -> None:
    assert [file.stem for file in WORKFLOWS] == NAMES
    assert [load(name)["name"] for name in NAMES] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_gives_no_permission_to_all_its_jobs(name: str) -> None:
    assert load(name)["permissions"] == {}


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_job_has_a_name_a_timeout_a_fixed_runner_and_stated_permissions(
    name: str, job: dict[str, Any]
) -> None:
    assert {"name", "timeout-minutes", "permissions"} <= set(job)
    labels = (RUNNER, TRAINER) if job["name"] == "train" else (RUNNER,)
    named = [f"${{{{ vars.{label} || 'ubuntu-24.04' }}}}" for label in labels]
    assert job["runs-on"] in ("ubuntu-24.04", *named) or (name, job["name"]) == ("propose", "build")


WRITES = {
    ("judge", "contents"),
    ("judge", "pull-requests"),
    ("judge", "statuses"),
    ("release", "contents"),
    ("release", "packages"),
    ("rollback", "contents"),
    *((name, "id-token") for name in ("propose", "release", "drift", "infra")),  # a role in a cloud
    ("infra", "pull-requests"),
    ("infra", "issues"),
    ("drift", "contents"),
    ("drift", "pull-requests"),
    ("drift", "issues"),
    ("page", "pages"),
    ("page", "id-token"),
}


def test_only_these_workflows_may_write_these_things() -> None:
    found = {(n, k) for n, _, job in jobs() for k, v in job["permissions"].items() if v != "read"}
    assert found == WRITES


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_code_of_a_pull_request_never_runs_on_the_host_or_with_a_secret(
    name: str, job: dict[str, Any]
) -> None:
    if "pull_request" in load(name)["on"] and name != "infra":
        assert job["runs-on"] == "ubuntu-24.04" or name == "propose"
        assert RUNNER not in str(job) and "_ROLE_WRITE" not in str(job)
        assert {v for k, v in job["permissions"].items() if k != "id-token"} <= {"read"}
        assert "secrets." not in str(job) and "environment" not in job
    assert "pull_request_target" not in load(name)["on"] or name == "judge"


def test_code_of_a_proposal_is_checked_out_where_it_is_built_and_nowhere_else() -> None:
    refs = {
        (name, key): step["with"].get("ref")
        for name, key, job in jobs()
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/checkout") and name in ("propose", "judge")
    }
    default = "${{ github.event.repository.default_branch }}"
    assert refs == {
        (
            "propose",
            "build",
        ): "${{ github.event.pull_request.head.sha || github.event.merge_group.head_sha }}",
        ("judge", "override"): default,
        ("judge", "find"): default,
        ("judge", "build"): "${{ needs.find.outputs.base }}",
        ("judge", "commit"): "${{ needs.find.outputs.base }}",
        ("judge", "gate"): "${{ needs.find.outputs.base }}",
        ("judge", "status"): default,
        ("judge", "comment"): default,
    }


RIGHTS = {
    "override": {"contents": "read", "issues": "read", "pull-requests": "read", "statuses": "write"},
    "find": {"actions": "read", "contents": "read", "pull-requests": "read", "statuses": "read"},
    "build": {"contents": "read"},  # here a stranger's values train
    "commit": {"contents": "write"},  # here dvc.lock goes to the proposal's branch, and nothing else runs
    "gate": {"contents": "read"},  # here a stranger's files are parsed
    "status": {"actions": "read", "contents": "read", "pull-requests": "read", "statuses": "write"},
    "comment": {"contents": "read", "pull-requests": "write"},
    "create": {"pull-requests": "write"},  # here CML runs
}


def test_each_job_of_judge_may_do_its_own_work_and_no_more() -> None:
    found = {key: job["permissions"] for key, job in load("judge")["jobs"].items()}
    assert found == RIGHTS
    assert load("propose")["jobs"]["build"]["permissions"] == {"contents": "read", "id-token": "write"}
    assert "token" not in str(load("judge")["jobs"]["gate"]).replace("GITHUB_TOKEN", "token")


def test_nothing_that_a_pull_request_can_write_comes_into_judge_but_the_candidate() -> None:
    """No cache, and artifacts of its own run only; one step takes the candidate from a run of `propose`."""
    steps = {key: job["steps"] for key, job in load("judge")["jobs"].items()}
    for job in steps.values():
        assert not [step for step in job if "cache" in str(step)]
    taken = [
        (key, step["with"]["name"], step["with"].get("run-id"))
        for key, job in steps.items()
        for step in job
        if step.get("uses", "").startswith("actions/download-artifact")
    ]
    assert taken == [
        ("find", "candidate", "${{ steps.proposal.outputs.run }}"),
        ("build", "asked", None),
        ("commit", "candidate", None),
        ("gate", "candidate", None),
        ("status", "verdict", None),
        ("comment", "report", None),
        ("create", "report", None),
    ]
    uploads = [s["with"] for job in steps.values() for s in job if "upload-artifact" in s.get("uses", "")]
    assert [given["name"] for given in uploads] == ["candidate", "asked", "candidate", "verdict", "report"]
    assert all(given["overwrite"] is True for given in uploads)  # else an attempt meets the one before


def test_what_writes_to_a_proposals_branch_trains_nothing_and_what_trains_writes_nothing() -> None:
    jobs = load("judge")["jobs"]
    runs = {key: [s["run"] for s in job["steps"] if "run" in s] for key, job in jobs.items()}
    assert runs["build"] == ["ml ci build asked candidate"]
    assert runs["commit"] == ['ml ci commit candidate --event "$GITHUB_EVENT_PATH" --head "$HEAD"']
    assert "secrets." not in str(jobs["build"]) and "environment" not in jobs["build"]
    assert [key for key, job in jobs.items() if job["permissions"].get("contents") == "write"] == ["commit"]


def test_an_earlier_attempts_verdict_is_none_where_the_gate_of_this_one_did_not_end() -> None:
    steps = load("judge")["jobs"]["status"]["steps"]
    (taken,) = [step for step in steps if step.get("uses", "").startswith("actions/download-artifact")]
    assert taken["if"] == "needs.gate.result == 'success'"


def test_a_run_of_an_old_head_neither_cancels_nor_replaces_that_of_the_newest() -> None:
    propose, judge = load("propose")["concurrency"], load("judge")["concurrency"]
    assert "github.event.pull_request.head.sha" in propose["group"]
    assert "github.event.workflow_run.head_sha" in judge["group"] and not judge["cancel-in-progress"]
    assert judge["group"].endswith("|| github.run_id }}")  # what changes nothing waits for nobody


def test_what_a_merge_queue_is_about_to_merge_is_checked_and_no_code_of_it_may_write() -> None:
    asked = {"types": ["checks_requested"]}
    assert {name for name in NAMES if load(name)["on"].get("merge_group") == asked} == {
        "ci",
        "infra",
        "propose",
    }
    assert "github.event.workflow_run.event == 'merge_group'" in load("judge")["jobs"]["find"]["if"]
    # rights and secrets of the two: test_code_of_a_pull_request_never_runs_on_the_host_or_with_a_secret


def test_judge_starts_when_a_build_is_asked_for_or_has_ended_and_when_a_maintainer_speaks() -> None:
    assert load("judge")["on"] == {
        "workflow_run": {"workflows": ["propose"], "types": ["requested", "completed"]},
        "pull_request_target": {
            "types": ["labeled", "unlabeled", "edited", "ready_for_review", "converted_to_draft"]
        },
    }


def test_no_step_of_judge_is_made_of_what_a_proposals_author_writes() -> None:
    """A step gets the event's file, and what `ml ci proposal` found, and nothing of the payload."""
    found = load("judge")["jobs"]
    assert "github.event.label.name == 'gate:override'" in found["override"]["if"]
    for job in found.values():
        named = set(re.findall(r"\$\{\{ (github\.event[\w.]*)", str(job["steps"])))
        assert named <= {"github.event.repository.default_branch"}


def test_a_release_looks_at_all_since_the_last_one_not_at_its_own_push() -> None:
    (scope,) = [s for s in load("release")["jobs"]["train"]["steps"] if s.get("id") == "scope"]
    assert scope["run"] == 'ml ci scope --base ledger --head "$HEAD"'
    assert "event.before" not in str(load("release"))


def test_the_job_that_trains_can_write_nothing_and_the_one_that_writes_trains_nothing() -> None:
    train, build = load("release")["jobs"]["train"], load("release")["jobs"]["build"]
    runs = {
        key: [s["run"] for s in job["steps"] if "run" in s] for key, job in load("release")["jobs"].items()
    }
    assert train["permissions"] == {"contents": "read", "id-token": "write"}  # a role that reads
    assert "_ROLE_WRITE" not in str(train)
    assert {key for key, lines in runs.items() if any("reproduce" in s or "rebuild" in s for s in lines)} == {
        "train"
    }
    assert 'ml release --trained trained --sha256 "$TRAINED"' in runs["build"]
    assert "cache" not in str(build["steps"]), "a cache is not verified by hash"


def test_a_run_that_is_started_again_replaces_its_artifacts() -> None:
    uploads = [
        s["with"]
        for _, _, job in jobs()
        for s in job["steps"]
        if s.get("uses", "").startswith("actions/upload-artifact")
    ]
    assert uploads and all(given.get("overwrite") is True for given in uploads)


def test_a_rollback_does_not_wait_behind_a_release_that_waits_for_approval() -> None:
    release, rollback = load("release"), load("rollback")
    assert rollback["concurrency"]["group"] == "rollback-${{ inputs.environment }}"
    assert not rollback["concurrency"]["group"].startswith(release["concurrency"]["group"])
    assert rollback["jobs"]["rollback"]["environment"] == "${{ inputs.environment }}"


def test_who_publishes_the_page_runs_nothing_of_ours_and_who_makes_it_writes_nothing() -> None:
    page, publish = (load("page")["jobs"][key] for key in ("page", "publish"))
    assert set(page["permissions"].values()) == {"read"}
    assert set(publish["permissions"]) == {"pages", "id-token"}
    assert [step["uses"].partition("@")[0] for step in publish["steps"]] == ["actions/deploy-pages"]
    assert load("page")["on"]["workflow_run"]["workflows"] == ["release", "rollback", "drift"]


WRITES_THE_LEDGER = ("ml release", "ml promote", "ml rollback", "ml ci commit")


def test_the_ledgers_key_reaches_the_steps_that_write_it_in_a_protected_environment_alone() -> None:
    secret, found = "${{ secrets.GREENLIGHT_LEDGER_KEY }}", set()
    for name, key, job in jobs():
        for step in job["steps"]:
            checkout = step.get("uses", "").startswith("actions/checkout")
            given = {*step.get("env", {}).values(), *step.get("with", {}).values()}
            assert (secret in given) == (
                step.get("run", "").startswith(WRITES_THE_LEDGER)
                or (checkout and job["permissions"].get("contents") == "write")
            ), (name, key, step)
            if secret in given:
                found.add((name, key, job["environment"]))
    asked = "${{ inputs.environment }}"
    assert found == {
        ("judge", "commit", "staging"),
        ("drift", "drift", "staging"),
        ("release", "build", "staging"),
        ("release", "promote", "production"),
        ("release", "production", "production"),
        ("rollback", "rollback", asked),
        ("rollback", "ledger", asked),
    }


def test_one_of_two_jobs_rolls_back_and_neither_is_green_where_nothing_was_done() -> None:
    attached, ledger = (load("rollback")["jobs"][key] for key in ("rollback", "ledger"))
    assert set(load("rollback")["jobs"]) == {"rollback", "ledger"}
    assert attached["if"] == "vars.GREENLIGHT_RUNNER != ''" and ledger["if"] == "vars.GREENLIGHT_RUNNER == ''"
    for job in (attached, ledger):
        assert job["steps"][-1]["run"].startswith("ml rollback")
        assert "continue-on-error" not in str(job)


SETTINGS = {
    "MLFLOW_TRACKING_URI": {
        ("release", "train"),
        ("release", "build"),
        ("release", "production"),
        ("rollback", "rollback"),
        ("drift", "drift"),
    },
    "GREENLIGHT_STORE": {
        *(("release", job) for job in ("build", "rehearse", "staging", "production")),
        ("rollback", "rollback"),
        ("drift", "drift"),
        ("page", "page"),
    },
    "GREENLIGHT_PAGE": {("page", "page"), ("page", "publish")},
    "GREENLIGHT_BASE_IMAGE": {("release", "build")},
    "GREENLIGHT_APP_ID": {("drift", "drift")},
    "GREENLIGHT_REGISTRY": {("release", "build")},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_reaches_the_jobs_that_read_it_and_no_code_of_a_proposal(setting: str) -> None:
    given = {(n, key) for n, key, job in jobs() if f"vars.{setting}" in str(job)}
    assert given == SETTINGS[setting]
    assert not [n for n, _ in given if "pull_request" in load(n)["on"]]
    assert f"`{setting}`" in (ROOT / "docs/github.md").read_text()


def test_a_bigger_machine_builds_a_branch_of_the_repository_and_never_a_fork() -> None:
    here = "github.event.pull_request.head.repo.full_name == github.repository"
    assert load("propose")["jobs"]["build"]["runs-on"] == (
        f"${{{{ {here} && vars.{TRAINER} || 'ubuntu-24.04' }}}}"
    )
    given = {(name, key) for name, key, job in jobs() if f"vars.{TRAINER}" in str(job)}
    assert given >= {("propose", "build"), ("release", "train")}


def test_a_role_for_the_dvc_remote_is_asked_for_where_the_job_may_and_a_writing_one_on_main_alone() -> None:
    asked = {}
    for name, key, job in jobs():
        steps = [step for step in job["steps"] if step.get("run", "").startswith("ml ci identity")]
        signs = (name, key) in (
            ("release", "build"),
            ("page", "publish"),
        )  # by the same right, as this workflow
        assert (bool(steps) or signs) == ("id-token" in job["permissions"]), (name, key)
        for step in steps:
            asked[name, key] = step["env"]["GREENLIGHT_ROLE"]
    read, write = (f"${{{{ vars.GREENLIGHT_DVC_ROLE_{kind} }}}}" for kind in ("READ", "WRITE"))
    assert (
        asked.items()
        >= {
            ("propose", "build"): read,
            ("release", "train"): read,
            ("release", "remote"): write,
            ("drift", "drift"): write,
        }.items()
    )
    assert {name for (name, _), role in asked.items() if role == write} == {"release", "drift"}
    # GitHub says who runs by the environment, else by the branch: so who trains is not who writes
    of = {(name, key): job.get("environment") for name, key, job in jobs()}
    assert {of[at] for at, role in asked.items() if role == write} == {"staging"}
    assert {of[at] for at, role in asked.items() if role == read} == {None}
    for page in ("s3", "gcs", "azure"):
        text = (ROOT / f"docs/remotes/{page}.md").read_text()
        assert "environment:staging" in text
        assert not re.search(r"(write .*|objectCreator[^`]*?)refs/heads/main", text)


def test_a_plan_is_made_for_branches_of_the_repository_in_an_environment_that_somebody_approves() -> None:
    found = load("infra")["jobs"]
    assert {key: job.get("environment") for key, job in found.items()} == {
        "check": None,
        "plan": "plan",
        "comment": None,
        "find": None,
        "apply": "apply",
        "drift": "nightly",
    }
    here = "github.event.pull_request.head.repo.full_name == github.repository"
    assert found["plan"]["if"].endswith(here) and "vars.GREENLIGHT_INFRA != ''" in found["plan"]["if"]
    assert found["check"]["permissions"] == {"contents": "read"} and "secrets." not in str(found["check"])
    for key, job in found.items():
        assert ("secrets." in str(job)) == (key in ("plan", "apply", "drift"))
    writes = {
        (key, right) for key, job in found.items() for right, v in job["permissions"].items() if v != "read"
    }
    roles = {(key, "id-token") for key in ("plan", "apply", "drift")}
    assert writes == roles | {("comment", "pull-requests"), ("drift", "issues")}
    (checkout,) = [s for s in found["comment"]["steps"] if s.get("uses", "").startswith("actions/checkout")]
    assert checkout["with"]["ref"] == "${{ github.event.repository.default_branch }}"


USES_THE_STORE = (
    "ml release",
    "ml image",
    "ml store",
    "ml ci rehearse",
    "ml deploy",
    "ml rollback",
    "ml drift",
    "ml page",
)


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_what_reads_the_store_has_ghs_login_and_nothing_else_needs_it(name: str, job: dict[str, Any]) -> None:
    for step in job["steps"]:
        if step.get("run", "").startswith(USES_THE_STORE) and "--ledger-only" not in step["run"]:
            assert "GREENLIGHT_STORE" in job["env"], step
            given = {**job["env"], **step.get("env", {})}
            assert given["GH_TOKEN"] == "${{ github.token }}", step
        else:
            assert "GH_TOKEN" not in step.get("env", {})


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_job_says_whether_later_steps_have_its_credentials(name: str, job: dict[str, Any]) -> None:
    for step in job["steps"]:
        if step.get("uses", "").startswith("actions/checkout"):
            kept = step["with"]["persist-credentials"]
            assert kept is True or job["permissions"]["contents"] == "read"  # what writes, pushes
            assert kept is False or "head.sha" not in str(step)  # never beside code that nobody has reviewed


ONE_COMMAND = re.compile(r"^(ml|dvc|git|make|cml|echo|cat) [^\n;|&]*\n?$")


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_step_is_one_command_or_one_action(name: str, job: dict[str, Any]) -> None:
    for step in job["steps"]:
        assert "uses" in step or ONE_COMMAND.match(step["run"]), step
        assert "${{" not in step.get("run", "")  # an expression in a script is an injection


def test_no_workflow_filters_by_path_so_required_checks_always_report() -> None:
    assert not [name for name in NAMES if "paths" in str(load(name)["on"])]


PIN = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d[\w.]*$")


def test_every_remote_action_is_pinned_to_a_commit_with_its_version_beside_it() -> None:
    files = [*WORKFLOWS, *ROOT.glob(".github/actions/*/action.yml")]
    lines = [line.rstrip() for file in files for line in file.read_text().splitlines() if " uses: " in line]
    remote = [line for line in lines if "uses: ./" not in line]
    assert len(remote) > 20
    assert not [line for line in remote if not PIN.search(line)]
    assert not PIN.search("uses: actions/checkout@v7")


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_every_remote_action_has_a_stand_in_that_knows_its_inputs(file: Path) -> None:
    used = {f"{use.repository}@{use.ref}" for use in remote_uses(ROOT, file)}
    assert used == set(stand_ins(ROOT, file))


def test_every_stand_in_is_of_an_action_that_is_used() -> None:
    used = {use.repository.replace("/", "-") for file in WORKFLOWS for use in remote_uses(ROOT, file)}
    assert used == {folder.name for folder in STAND_INS.iterdir() if folder.is_dir()}


def test_the_setup_pins_a_python_that_the_lock_supports_and_takes_uv_from_the_lock() -> None:
    action = yaml.safe_load((ROOT / ".github/actions/setup/action.yml").read_text())
    given = {s["uses"].partition("@")[0]: s.get("with", {}) for s in action["runs"]["steps"] if "uses" in s}
    version = given["actions/setup-python"]["python-version"]
    assert version in re.findall(r"python(3\.\d+)", (ROOT / "Makefile").read_text())
    assert "astral-sh/setup-uv" not in given
    assert re.search(r"(?m)^uv==[\d.]+ \\\n    --hash=sha256:", (ROOT / "requirements/dev.txt").read_text())
