"""`ml demo`: the whole loop on this machine, chapter by chapter, by the repository's own workflow files."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from rich.rule import Rule

from pipelines.base.errors import UserError
from pipelines.base.files import read_json, write_json
from pipelines.core.contract import Contract
from pipelines.host import terraform
from pipelines.local import events
from pipelines.local.stage import ENVIRONMENTS, FOLDER, MARK, REPOSITORY, Stage, open_stage
from pipelines.serving.request import Reader

MONTHS = ("2013-07", "2013-08", "2013-09", "2013-10")
WATCHED = 2000  # requests that the second release must be watched with, at least

# Edits of params.yaml: train.settings
GOOD = {"max_leaf_nodes": 31, "min_samples_leaf": 300, "max_iter": 90}
BAD = {"max_iter": 5}
BETTER = {"max_iter": 150, "max_features": 0.3}


def demo(contract: Contract) -> int:
    """Run the loop in .greenlight/demo; 0 when every chapter ended as it must."""
    down(contract.name)
    started = time.monotonic()
    with open_stage() as stage:
        for chapter in CHAPTERS:
            said = (chapter.__doc__ or "").strip()
            stage.console.print()
            stage.console.print(Rule(f"[bold]{said}", align="left", style="green"))
            chapter(stage)
        farewell(stage, contract, time.monotonic() - started)
    return 0


def down(model: str) -> None:
    """Stop whatever an earlier demo left running, also one that was killed."""
    home = FOLDER.absolute() / "home"
    os.environ["GREENLIGHT_HOME"] = str(home)
    for environment in ENVIRONMENTS:
        if (home / environment / "host.json").exists():
            terraform.down(environment, model)
    mark = str(FOLDER.absolute())
    left = [process for process in psutil.process_iter() if _environ(process).get(MARK) == mark]
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=10)


def _environ(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ() if process.pid != os.getpid() else {}
    except psutil.Error:
        return {}


# --- the chapters -----------------------------------------------------------------------------------------


def a_good_proposal(stage: "Stage") -> None:
    """1. A good proposal: finer trees"""
    pull = stage.propose("finer-trees", "Finer trees", GOOD)
    stage.judge(pull, expected="success")


def a_bad_proposal(stage: "Stage") -> None:
    """2. A bad proposal: hardly trained"""
    pull = stage.propose("hasty", "Train in a tenth of the time", BAD)
    stage.judge(pull, expected="failure")
    try:
        stage.merge(pull)
    except UserError as refused:
        stage.say(f"Merging it is refused by the branch rules: {refused}")
    else:
        raise AssertionError("a proposal without a green status was merged")
    stage.forge("forged", "Tidy the console")


def the_first_release(stage: "Stage") -> None:
    """3. The merge: first release, to staging and production"""
    stage.release(stage.pull("finer-trees"))


def the_second_release(stage: "Stage") -> None:
    """4. The second release, blue-green under load"""
    pull = stage.propose("more-trees", "More trees, each from fewer features", BETTER)
    stage.judge(pull, expected="success")
    stage.say("Flights of July are sent to production, one a request, while the release goes out.")
    with stage.load("2013-07") as tally:
        stage.release(pull)
    counts = read_json(tally)
    stage.say(
        f"{counts['sent']:,} requests sent, {counts['lost']} lost, {counts['mixed']} answered by a mixture; "
        + ", then ".join(f"{n:,} by {release[:12]}" for release, n in counts["releases"].items())
    )
    stage.must(
        counts["lost"] == counts["mixed"] == 0 and counts["sent"] >= WATCHED and len(counts["releases"]) == 2,
        f"at least {WATCHED} requests, none lost, two releases: {tally}",
    )


def summer_and_autumn(stage: "Stage") -> None:
    """5. July to October arrive: has the model gone stale?"""
    stage.send(MONTHS[0])
    stage.check_drift(MONTHS[0], retrain=False)
    for month in MONTHS[1:]:
        stage.send(month)
    stage.check_drift(MONTHS[-1], retrain=True)


def the_way_back(stage: "Stage") -> None:
    """6. Rollback: production returns to the release before"""
    before = stage.running("production")
    stage.workflow(
        "rollback",
        events.workflow_dispatch(REPOSITORY, ".github/workflows/rollback.yml", {"environment": "production"}),
    )
    after = stage.running("production")
    stage.say(f"Production answered with {before[:12]}, and now with {after[:12]}.")
    stage.must(after != before, "rollback changed nothing")


CHAPTERS: tuple[Callable[["Stage"], None], ...] = (
    a_good_proposal,
    a_bad_proposal,
    the_first_release,
    the_second_release,
    summer_and_autumn,
    the_way_back,
)


def farewell(stage: "Stage", contract: Contract, seconds: float) -> None:
    """Where to look, and what to try."""
    request = write_json(stage.folder / "request.json", Reader(contract, 1).example(stage.golden_rows()[0]))
    production = stage.edge("production")
    body = os.path.relpath(request, Path.cwd())
    stage.console.print()
    stage.console.print(Rule(f"[bold]The loop took {seconds / 60:.1f} minutes", align="left", style="green"))
    for name, where in {
        "production": production,
        "staging": stage.edge("staging"),
        "reports": os.path.relpath(stage.folder / "reports"),
        "ledger": f"git -C {os.path.relpath(stage.place.origin)} log -p environments",
        "try": f"curl -s {production}/predict -H 'content-type: application/json' -d @{body}",
        "API": f"{production}/docs.json",
        "stop": "make down",
    }.items():
        stage.console.print(f"  [bold]{name:<11}[/bold]{where}", soft_wrap=True, highlight=False)
