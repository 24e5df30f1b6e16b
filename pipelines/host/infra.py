"""Terraform on pull requests: infra/ is checked without credentials, planned where a maintainer has agreed,
and on merge exactly what was planned is applied.

A saved plan holds what the state holds, secrets too, and whoever changes it changes what is applied. So it
leaves its job sealed (NaCl's secret box) with a key that only the environments `plan` and `apply` have:
nobody else can read it, and nobody else can have made it."""

import base64
import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from python_terraform import IsFlagged

from pipelines.base import git, machine, programs, venv
from pipelines.base.console import output, secret, step, summary
from pipelines.base.errors import Refused, UserError
from pipelines.base.files import sha256, write_bytes, write_json, write_text
from pipelines.base.github import GitHub
from pipelines.host.terraform import Terraform
from pipelines.pulls import comment as comments
from pipelines.pulls import issue, runs, scope

INFRA, LOCK = Path("infra"), Path("requirements/checkov.txt")
ROOT = "GREENLIGHT_INFRA"  # the variable that names the root module that is planned
KEY = "GREENLIGHT_PLAN_KEY"  # seals: 32 bytes, as base64
VARIABLES = "GREENLIGHT_INFRA_VARIABLES"  # the root module's variables, as JSON; all of them are secrets
WORKFLOW, ARTIFACT = ".github/workflows/infra.yml", "plan"
SEALED, TEXT = "plan.sealed", "plan.md"
MARK, DRIFTED = "<!-- greenlight/plan -->", "<!-- greenlight: drift of {} -->"
MOST = 55_000  # characters of a plan that are shown
SHORTEST = 4  # of a value that is masked: shorter ones are in every plan
AGAIN = "open a pull request that changes infra/, and its plan is made anew"


def check(base: str, head: str) -> None:
    """`ml ci infra-check`: fmt, validate, `terraform test` and checkov of all in infra/, where the change
    touches it. Writes `infra` (does it?) to the step's outputs. UserError or Refused at the first finding."""
    touched = _touched(base, head)
    output("infra", str(touched).lower())
    if not os.environ.get(ROOT):
        summary(f"No plan is made: set the variable {ROOT} to a root module of infra/ (docs/infra.md).")
    if not touched:
        return step("infra/ is as it was: nothing to check")
    with tempfile.TemporaryDirectory() as folder:
        everywhere = Terraform(INFRA, Path(folder), {})
        try:
            everywhere.run("fmt", check=IsFlagged, recursive=IsFlagged)
        except Refused as error:
            raise UserError(f"{error}: run `terraform fmt -recursive infra`") from None
    for module in sorted({file.parent for file in INFRA.glob("*/*.tf")}):
        with tempfile.TemporaryDirectory() as folder:
            terraform = Terraform(module, Path(folder), {})
            terraform.init(backend=False)
            terraform.run("validate")
            terraform.run("test")
            step(f"{module}: valid, and its tests pass")
    _checkov()


def plan(root: Path, out: Path) -> None:
    """`ml ci infra-plan`: plan the root module; leave in `out` the sealed plan, where there is a key, and its
    text. UserError where the module is none, Refused where Terraform cannot plan."""
    key = os.environ.pop(KEY, "")
    with _terraform(root) as terraform:
        changes = terraform.plan(lock=False)  # a role that only reads cannot lock
        text, digest = _masked(terraform.planned()), sha256(terraform.saved)
        if key:
            told = {"root": str(root), "tree": _tree(), "plan": _text(terraform.saved.read_bytes())}
            told["hidden"] = "\n".join(_hidden())
            write_bytes(out / SEALED, _box(key).encrypt(json.dumps(told).encode()))
    then = (
        f"On merge exactly this plan is applied (SHA-256 `{digest[:12]}`), unless it is out of date then."
        if key
        else f"It is not kept, and nothing is applied on merge: the environment `plan` has no secret {KEY}."
    )
    words = f"**Plan of `{root}`**: {changes or 'nothing changes'}. {then}"
    write_text(out / TEXT, f"{MARK}\n{words}\n\n{_shown(text)}\n")
    summary(f"{words}\n\n{_shown(text)}")
    step(f"{root}: {changes or 'nothing changes'}")


def comment(number: int, file: Path) -> None:
    """`ml ci infra-comment`: the plan's text, as a comment of a pull request. UserError for another file."""
    body = file.read_text(encoding="utf-8")
    if not body.startswith(MARK) or len(body) > comments.LIMIT_CHARACTERS:
        raise UserError(f"{file} is not the text of `ml ci infra-plan`")
    github = GitHub.from_environment()
    if not comments.update(github, number, body, MARK):
        github.call("POST", f"/issues/{number}/comments", {"body": body})
        step(f"#{number}: the plan is in a new comment")


def find(base: str, head: str) -> None:
    """`ml ci infra-find`: where a push changes infra/, the run that left the plan of the pull request which
    brought it. Its id is the step's output `run`, empty where nothing is to be applied. Refused without a
    plan."""
    output("run", "")
    if not _touched(base, head):
        return step("infra/ is as it was: nothing to apply")
    github = GitHub.from_environment()
    pulls = [pull for pull in github.list(f"/commits/{head}/pulls") if pull["merged_at"]]
    pull = next((pull for pull in pulls if pull["merge_commit_sha"] == head), None)
    if pull is None:
        raise Refused(f"no pull request brought {head[:12]}, so no plan of it was approved: {AGAIN}")
    path = f"/actions/workflows/{Path(WORKFLOW).name}/runs?event=pull_request&head_sha={pull['head']['sha']}"
    listed = sorted(github.list(path, "workflow_runs"), key=lambda run: int(run["run_number"]), reverse=True)
    run = next((run["id"] for run in listed if runs.artifact(github, run["id"], ARTIFACT)), None)
    if run is None:
        raise Refused(f"#{pull['number']} was merged without an approved plan, or it has expired: {AGAIN}")
    output("run", str(run))
    step(f"#{pull['number']} was planned by run {run}")


def apply(root: Path, folder: Path) -> None:
    """`ml ci infra-apply`: apply the sealed plan in `folder`, and no other. Refused where it was not sealed
    by our key, where it is of another root module or infra/, or where the state has moved on."""
    if not (key := os.environ.pop(KEY, "")):
        raise UserError(f"{KEY} is not set: the environment `apply` needs the key that `plan` has")
    told = _opened(key, folder / SEALED)
    secret(told.get("hidden", ""))  # what Terraform says of an apply that fails is in the log
    if (told["root"], told["tree"]) != (str(root), _tree()):
        raise Refused(f"the plan is out of date: it is of another infra/ than was merged: {AGAIN}")
    with _terraform(root) as terraform:
        write_bytes(terraform.saved, base64.b64decode(told["plan"])).chmod(0o600)
        try:
            terraform.apply()
        except Refused as error:
            if "plan is stale" not in str(error):
                raise
            raise Refused(f"the plan is out of date: what it changes has changed since: {AGAIN}") from None
    summary(f"Applied to `{root}`, as it was approved.")
    step(f"{root}: applied as it was planned")


def drift(root: Path) -> int:
    """`ml ci infra-drift`: 4, and an issue, where a plan of what is merged would change something, else 0."""
    with _terraform(root) as terraform:
        changes = terraform.plan(lock=False)
        text = _masked(terraform.planned()) if changes else ""
    title = f"{root} has drifted: {changes}" if changes else f"{root} is what the code says"
    step(title)
    words = "A plan of what is merged would change something. Change it back, or change infra/."
    report = f"{words}\n\n{_shown(text)}"
    issue.keep(GitHub.from_environment(), DRIFTED.format(root), title, report, holds=bool(changes))
    return 4 if changes else 0


def _touched(base: str, head: str) -> bool:
    paths = scope.changed(base, head)
    return paths is None or any(path.startswith(f"{INFRA}/") or Path(path) == LOCK for path in paths)


def _tree() -> str:
    """The id of infra/ as the commit has it, which a merge, a squash and a rebase keep."""
    return git.object_of("HEAD", str(INFRA)) or ""


@contextlib.contextmanager
def _terraform(root: Path) -> Iterator[Terraform]:
    """Terraform on a root module with its own backend; what it writes here is gone afterwards."""
    secret("\n".join(_hidden()))  # before it says a word: its errors quote values
    if INFRA not in root.parents or ".." in root.parts or not list(root.glob("*.tf")):
        raise UserError(f"{ROOT} is {str(root)!r}, which is not a folder of infra/ with *.tf: correct it")
    with tempfile.TemporaryDirectory() as folder:
        file = None
        if given := _given():
            file = write_json(Path(folder, "terraform.tfvars.json"), given)
            file.chmod(0o600)
        terraform = Terraform(root, Path(folder, "terraform"), {}, file)
        terraform.init(reconfigure=IsFlagged)
        yield terraform


def _given() -> dict[str, Any]:
    """The variables of the root module. UserError where they are not a mapping."""
    try:
        given = json.loads(os.environ.get(VARIABLES) or "{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise UserError(
            f'{VARIABLES} must be a JSON mapping such as {{"password": "..."}}: correct the secret'
        )
    return given


def _masked(text: str) -> str:
    """The text without the values that were given, which the log has whole; what Terraform knows to be
    sensitive it hides itself."""
    for line in _hidden():
        spelled = json.dumps(line)[1:-1], json.dumps(line, ensure_ascii=False)[1:-1]
        for shown in (line, *spelled):
            text = text.replace(re.sub(r"([$%])\{", r"\1\1{", shown), "***").replace(shown, "***")
    print(text)
    return text


def _hidden() -> list[str]:
    """Each line of each value that was given, the longest first: of several lines Terraform shows each with a
    margin."""
    lines = {line.strip() for value in _values(_given()) for line in value.splitlines()}
    return sorted((line for line in lines if len(line) >= SHORTEST), key=len, reverse=True)


def _values(given: Any) -> set[str]:
    if isinstance(given, dict | list):
        inner = given.values() if isinstance(given, dict) else given
        return {found for value in inner for found in _values(value)}
    return {str(given)} if not isinstance(given, bool) else set()


def _shown(text: str) -> str:
    """A plan as Markdown, cut where it is too long for a comment."""
    text = text.strip()
    if len(text) > MOST:
        text = f"{text[:MOST]}\n... and {len(text) - MOST:,} characters more, in the log of the run"
    fence = "`" * max(3, 1 + max((len(found) for found in re.findall("`+", text)), default=0))
    said = f"<summary>What Terraform says</summary>\n\n{fence}\n{text}\n{fence}"
    return f"<details>{said}\n\n</details>" if text else ""


def _box(key: str) -> Any:
    from nacl.secret import SecretBox

    try:
        return SecretBox(base64.b64decode(key, validate=True))
    except ValueError:
        raise UserError(f"{KEY} must be 32 random bytes as base64: `openssl rand -base64 32`") from None


def _opened(key: str, file: Path) -> dict[str, str]:
    from nacl.exceptions import CryptoError

    if not file.is_file():
        raise Refused(f"{file} does not exist: no plan was kept: {AGAIN}")
    try:
        return dict(json.loads(_box(key).decrypt(file.read_bytes())))
    except (CryptoError, ValueError):
        raise Refused(f"{file} is not a plan that the environment `plan` sealed: {AGAIN}") from None


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _checkov() -> None:
    """Refused with checkov's first findings. It asks nobody: no policies of elsewhere, no newer version."""
    folder = venv.make(machine.home() / "venvs" / venv.name(LOCK), LOCK)
    told = (
        f"--directory {INFRA} --framework terraform --quiet --compact --skip-download --output json".split()
    )
    env = programs.environment(CKV_SKIP_PACKAGE_UPDATE_CHECK="true")
    done = programs.run([folder / "bin/checkov", *told], env=env)
    print(done.stdout if done.returncode else "", file=sys.stderr, end="")
    if done.returncode not in (0, 1):
        raise Refused(f"checkov failed: {' '.join(done.stderr.split())[-300:]}")
    found = json.loads(done.stdout or "{}")
    failed = [one for part in (found if isinstance(found, list) else [found]) for one in _failed(part)]
    if failed:
        raise Refused(
            f"checkov: {'; '.join(failed[:3])}: correct it, or say why not (`#checkov:skip=ID:REASON`)"
        )
    step("checkov found nothing")


def _failed(part: dict[str, Any]) -> list[str]:
    checks = part.get("results", {}).get("failed_checks", ())
    return [f"{one['file_path'].lstrip('/')}: {one['resource']}: {one['check_name']}" for one in checks]
