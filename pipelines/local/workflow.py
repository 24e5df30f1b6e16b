"""`ml ci workflow NAME`: one workflow of this checkout's HEAD, run here with act."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from pipelines.base import git
from pipelines.base.console import step
from pipelines.base.errors import UserError
from pipelines.base.files import read_json
from pipelines.local import act, events, github
from pipelines.local.act import Place
from pipelines.local.events import MAIN, Event

HEAD = "checkout"  # the branch that holds this checkout's HEAD, and that its pull request comes from
NOBODY = ("-c", "user.name=greenlight", "-c", "user.email=greenlight@localhost")


def run(
    name: str,
    *,
    event: Path | None = None,
    inputs: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
    job: str | None = None,
    verbose: bool = False,
    checkout: Path = Path(),
) -> int:
    """Run `.github/workflows/NAME.yml` as GitHub would, for an event that fits it or the one in a file.

    Everything stays below .greenlight/workflow, for the next run too: a bare repository with HEAD in it and
    the ledger, artifacts, caches, the state of GitHub's API and GREENLIGHT_HOME. Returns act's exit code;
    prints the step summaries."""
    checkout = Path(git.run("rev-parse", "--show-toplevel", at=checkout))
    if dirty := git.dirty(checkout):
        step(f"{len(dirty)} uncommitted changes are not part of this run: it takes the last commit")
    file = checkout / ".github/workflows" / f"{name}.yml"
    if not file.is_file():
        raise UserError(
            f"there is no workflow {name!r}; `ml ci workflow --list` shows: {', '.join(names(checkout))}"
        )
    known = yaml.safe_load(file.read_text())["jobs"]
    if job is not None and job not in known:
        raise UserError(f"{name} has no job {job!r}; it has: {', '.join(known)}")
    home = checkout / ".greenlight/workflow"
    origin, environment = home / "origin.git", {"GREENLIGHT_HOME": str(home / "home")}
    if not origin.exists():
        git.run("init", "--quiet", "--bare", f"--initial-branch={MAIN}", str(origin))
    git.run("push", "--quiet", "--force", str(origin), f"HEAD:refs/heads/{HEAD}", at=checkout)
    place = Place(origin, home, variables=variables or {}, environment=environment)
    with github.serve(home, place.origin, place.repository) as api:
        place = replace(place, api=api)
        cause = given(file, event, place) if event else fitting(file, place, inputs or {})
        done = act.run(name, cause, place, job=job, verbose=verbose)
    if done.summary:
        print(done.summary)
    return done.code


def names(checkout: Path = Path()) -> dict[str, list[str]]:
    """`ml ci workflow --list`: each workflow of the checkout and the events that start it."""
    files = sorted((checkout / ".github/workflows").glob("*.yml"))
    return {file.stem: list(triggers(file)) for file in files}


def triggers(file: Path) -> dict[str, Any]:
    definition = yaml.safe_load(file.read_text())
    on = definition.get("on", definition.get(True))  # YAML 1.1 reads a bare `on` as true
    if isinstance(on, str):
        return {on: None}
    return dict.fromkeys(on) if isinstance(on, list) else dict(on)


def given(workflow: Path, file: Path, place: Place) -> Event:
    """The event in a file of the user's, of the kind that its fields show; it runs on the last commit."""
    payload = read_json(file)
    head = newest_commit(place, main=True)
    kinds = {"inputs": "workflow_dispatch", "after": "push"}
    if "pull_request_target" in triggers(workflow):
        kinds["pull_request"] = "pull_request_target"
    for field in ("pull_request", "workflow_run", "schedule", "inputs", "after"):
        if isinstance(payload, dict) and field in payload:
            return Event(kinds.get(field, field), payload, head)
    raise UserError(
        f"{file} is not a payload of pull_request, push, workflow_run, schedule or workflow_dispatch"
    )


def fitting(file: Path, place: Place, inputs: Mapping[str, str]) -> Event:
    """An event that starts the workflow: the last commit as a pull request or a push, or a dispatch."""
    name, on = file.stem, triggers(file)
    if inputs and "workflow_dispatch" not in on:
        raise UserError(f"{name} takes no inputs: it starts on {', '.join(on)}")
    if "workflow_run" in on:  # main stays where the followed run left it
        follows = on["workflow_run"]["workflows"]
        newest = next((run for run in act.ended(place.state) if run["name"] in follows), None)
        if newest is None:
            way_out = f"run `ml ci workflow {follows[0]}` first"
            raise UserError(f"it follows a run of {' or '.join(follows)}: {way_out}")
        return replace(events.workflow_run(place.repository, newest), sha=newest_commit(place, main=False))
    after = newest_commit(place, main=True)
    if "workflow_dispatch" in on:
        path = f".github/workflows/{name}.yml"
        filled = fill(name, (on["workflow_dispatch"] or {}).get("inputs", {}), inputs)
        return events.workflow_dispatch(place.repository, path, filled)
    if not (before := git.commit(f"{after}^1", place.origin)):  # a first commit comes after an empty one
        tree = git.run("mktree", at=place.origin)
        before = git.run(*NOBODY, "commit-tree", tree, "-m", "Nothing yet", at=place.origin)
    if "pull_request" in on:
        return events.pull_request(pull(place, before), "opened")
    if "push" in on:
        return events.push(place.repository, before, after)
    return events.schedule(place.repository)


def fill(name: str, known: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, str]:
    """The inputs of a dispatch, with defaults. UserError for what GitHub's form lets nobody enter."""
    for key, value in inputs.items():
        if key not in known:
            raise UserError(f"{name} has no input {key!r}; it has: {', '.join(known) or 'none'}")
        choices = {"boolean": ["true", "false"], "choice": known[key].get("options", [])}
        allowed = [str(choice) for choice in choices.get(known[key].get("type", ""), [value])]
        if value not in allowed:
            raise UserError(f"{name}: the input {key} is one of {', '.join(allowed)}, not {value!r}")
    said = {key: field.get("default", "") for key, field in known.items()}
    said = {key: str(v).lower() if isinstance(v, bool) else str(v) for key, v in said.items()}  # as GitHub
    filled = said | dict(inputs)
    if missing := [key for key, field in known.items() if field.get("required") and not filled[key]]:
        raise UserError(f"{name} needs the input {missing[0]}: --input {missing[0]}=VALUE")
    return filled


def newest_commit(place: Place, main: bool) -> str:
    """The checkout's HEAD in the bare repository; `main`: it becomes the default branch's newest commit."""
    commit = git.run("rev-parse", f"refs/heads/{HEAD}", at=place.origin)
    if main:
        git.run("update-ref", f"refs/heads/{MAIN}", commit, at=place.origin)
    return commit


def pull(place: Place, base: str) -> dict[str, Any]:
    """A pull request of the last commit onto `base`, which becomes the default branch's newest commit."""
    url = f"{place.api}/repos/{place.repository}/pulls"
    for old in github.call(f"{url}?state=open"):
        github.call(f"{url}/{old['number']}", "PATCH", {"state": "closed"})
    git.run("update-ref", f"refs/heads/{MAIN}", base, at=place.origin)
    title = git.run("log", "-1", "--format=%s", HEAD, at=place.origin)
    made: dict[str, Any] = github.call(url, "POST", {"title": title, "head": HEAD, "base": MAIN})
    return made
