"""`ml demo`: the whole loop on this machine, chapter by chapter, by the repository's own workflow files."""

import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.rule import Rule

from pipelines.artifacts.serving import Golden
from pipelines.base.errors import UserError
from pipelines.base.files import read_json, write_json
from pipelines.core import params as parameters
from pipelines.core import rows
from pipelines.core.contract import Contract
from pipelines.core.params import Params
from pipelines.core.problem import Problem
from pipelines.host import services
from pipelines.host.host import Host
from pipelines.host.slots import launch
from pipelines.local.act import Run
from pipelines.local.aside import Aside
from pipelines.local.stage import ENVIRONMENTS, FOLDER, MARK, Stage, open_stage
from pipelines.serving.request import Reader

WATCHED = 2000  # requests that the second release must be watched with, at least
MONTHS = 4  # at most, for production
LEAST = 3
RETRAIN = "ml ci retrain"  # the step after the drift check's verdict

Pull = dict[str, Any]  # a pull request, as GitHub's API describes it
Accepted = tuple[Pull, Aside[None]]  # one that the judge let through, and its review


def demo(problem: Problem) -> None:
    """Run the loop in .greenlight/demo; every chapter must end as it says.

    UserError, before anything is begun, where the source has too few months after the training's."""
    through, months = months_of(parameters.load(), rows.known(problem))
    down()
    started = time.monotonic()
    with open_stage() as stage:
        play = Play(stage, months, stage.found(through))
        for chapter in CHAPTERS:
            said = (chapter.__doc__ or "").strip().format(*months, last=months[-1])
            stage.console.print()
            stage.console.print(Rule(f"[bold]{said}", align="left", style="green"))
            chapter(play)
        farewell(stage, problem.contract, time.monotonic() - started)


def months_of(params: Params, known: Sequence[str]) -> tuple[str, list[str]]:
    """The newest month of data/, and those that come to production later, of those that the source knows.

    They are the months after data.through, where there are enough, else the newest ones. UserError where the
    source has fewer than four after train.last: one judges, three come to production."""
    after = [month for month in known if month > params.train.last]
    if len(after) <= LEAST:
        raise UserError(
            f"params.yaml: train.last is {params.train.last}, and the source knows {len(after)} later months "
            f"(the demo needs {LEAST + 1}): train on fewer, or let pipelines/problem/source.py know more"
        )
    later = [month for month in after if month > params.data.through]
    if len(later) >= LEAST:
        return params.data.through, later[:MONTHS]
    return after[-LEAST - 1], after[-LEAST:]


def down() -> None:
    """End what an earlier demo left running, also one that was killed; its folder goes with the next one."""
    found = [Host.found(FOLDER.absolute() / "home" / environment) for environment in ENVIRONMENTS]
    for stopped in [Aside(functools.partial(services.stop, host)) for host in found if host]:
        stopped.made()
    launch.clear(str(FOLDER.absolute()), variable=MARK)


# --- the chapters -----------------------------------------------------------------------------------------


class Play:
    """What runs beside the chapters: the author makes one proposal after the other, and while the first
    release goes out, the others are built and judged, as GitHub would do it."""

    def __init__(self, stage: Stage, months: Sequence[str], chosen: Aside[dict[str, Any]]) -> None:
        self.stage, self.months, self.chosen = stage, months, chosen
        self.good = Aside(lambda: stage.draft("good", chosen.made()["good"]), after=chosen)
        self.better = Aside(lambda: stage.draft("better", onto="good"), after=self.good)
        self.bad = Aside(lambda: stage.draft("bad", chosen.made()["bad"], onto="good"), after=self.better)
        self.forged = Aside(lambda: stage.draft_forged("forged"), after=self.bad)
        self.back: Aside[None]

    def judge(self, pull: Pull, run: Run) -> Accepted:
        """Have a proposal judged and reviewed; where the judge does not let it through, a smaller step."""
        stage = self.stage
        review = Aside(lambda: stage.review(pull))
        if stage.judge(pull, run) == "success":
            return pull, review
        stage.say("Its author takes a smaller step, which can lose nothing.")
        self.forged.made()
        stage.draft("small")
        small = stage.open("small")
        stage.must(stage.judge(small, stage.build(small)) == "success", "no proposal was let through")
        return small, Aside(lambda: stage.review(small))

    def go_on(self, pull: Pull, review: Aside[None]) -> None:
        """Merge and release what was accepted; beside it, the other proposals follow main and are judged."""
        stage, self.review = self.stage, review
        self.merged = Aside(lambda: stage.merge(pull), after=review)
        self.first = Aside(lambda: stage.release(self.merged.show()))
        opened = Aside(lambda: self.follow(pull), after=self.merged)
        self.refused = Aside(lambda: self.refuse(opened.made()))
        built = Aside(lambda: stage.build(opened.made()["better"]))
        self.next = Aside(lambda: self.judge(opened.made()["better"], built.show()), after=self.refused)

    def follow(self, merged: Pull) -> dict[str, Pull]:
        """The pull requests of the other proposals, which stand on what is merged."""
        self.forged.made()
        for branch, changes in {"better": None, "bad": self.chosen.made()["bad"]}.items():
            if merged["head"]["ref"] == "good":
                self.stage.follow_main(branch)
            else:
                self.stage.draft(branch, changes)
        return {branch: self.stage.open(branch) for branch in ("better", "bad", "forged")}

    def refuse(self, pulls: dict[str, Pull]) -> None:
        """The bad proposal and the forged one, up to the branch rules."""
        stage, bad = self.stage, pulls["bad"]
        self.bad.show()
        stage.must(stage.judge(bad, stage.build(bad)) != "success", "the judge let the bad proposal through")
        try:
            stage.merge(bad)
        except UserError as refused:
            stage.say(f"Merging it is refused by the branch rules: {refused}")
        else:
            raise AssertionError("a proposal without a green status was merged")
        stage.judge_forged(pulls["forged"])


def a_good_proposal(play: Play) -> None:
    """1. A good proposal"""
    play.chosen.show()
    play.good.show()
    pull = play.stage.open("good")
    play.go_on(*play.judge(pull, play.stage.build(pull)))


def a_bad_proposal(play: Play) -> None:
    """2. A bad proposal, and a forged one"""
    play.refused.show()


def the_first_release(play: Play) -> None:
    """3. The merge: first release, to staging and production"""
    play.review.show()
    play.first.show()


def the_second_release(play: Play) -> None:
    """4. The second release, blue-green under load"""
    play.better.show()
    pull, review = play.next.show()
    review.show()
    stage, month = play.stage, play.months[0]
    stage.say(f"The events of {month} are sent to production, one a request, while the release goes out.")
    with stage.load(month) as (tally, begin):
        stage.release(stage.merge(pull), lambda line: begin() if line.startswith("staging |") else None)
    counts = read_json(tally)
    stage.say(
        f"{counts['sent']:,} requests sent, {counts['lost']} lost, {counts['mixed']} answered by a mixture; "
        + ", then ".join(f"{n:,} by {release[:12]}" for release, n in counts["releases"].items())
    )
    stage.must(
        counts["lost"] == counts["mixed"] == 0 and counts["sent"] >= WATCHED and len(counts["releases"]) == 2,
        f"at least {WATCHED} requests, none lost, two releases: {tally}",
    )


def later_months(play: Play) -> None:
    """5. {0} to {last} arrive: has the model gone stale?"""
    stage, judged = play.stage, threading.Event()
    stage.send(play.months[:1])
    rest = Aside(lambda: stage.send(play.months[1:]))
    first = stage.check_drift(play.months[0])
    months = parameters.load(stage.clone / "params.yaml").drift.months
    stage.must(not first or months == 1, "the drift check asks for retraining after one month")
    rest.show()
    play.back = Aside(stage.roll_back, after=Aside(judged.wait))  # beside the training that drift asks for
    asks = stage.check_drift(play.months[-1], lambda line: judged.set() if RETRAIN in line else None)
    judged.set()  # also where the step has another name
    if not asks:
        stage.say("It has not: nothing asks for retraining.")


def the_way_back(play: Play) -> None:
    """6. Rollback: production returns to the release before"""
    play.back.show()


CHAPTERS: tuple[Callable[[Play], None], ...] = (
    a_good_proposal,
    a_bad_proposal,
    the_first_release,
    the_second_release,
    later_months,
    the_way_back,
)


def farewell(stage: "Stage", contract: Contract, seconds: float) -> None:
    """Where to look, and what to try."""
    example = Reader(contract, 1).example(Golden.read(stage.clone / "models").rows[0])
    request = write_json(stage.folder / "request.json", example)
    production = stage.edge("production")
    body, page = os.path.relpath(request, Path.cwd()), stage.page()
    stage.console.print()
    stage.console.print(Rule(f"[bold]The loop took {seconds / 60:.1f} minutes", align="left", style="green"))
    for name, where in {
        "production": production,
        "staging": stage.edge("staging"),
        "page": os.path.relpath(page),
        "reports": os.path.relpath(stage.folder / "reports"),
        "ledger": f"git -C {os.path.relpath(stage.place.origin)} log -p environments",
        "try": f"curl -s {production}/predict -H 'content-type: application/json' -d @{body}",
        "API": f"{production}/docs.json",
        "stop": "make down",
    }.items():
        stage.console.print(f"  [bold]{name:<11}[/bold]{where}", soft_wrap=True, highlight=False)
