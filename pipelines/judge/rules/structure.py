"""Is what is judged what would be merged, and is there enough to judge it by?"""

from pipelines.base.errors import few, one_line
from pipelines.core.contract import Finding
from pipelines.judge.evidence import NEAR, SAME, Again, Evidence


def lock(e: Evidence) -> Finding | None:
    """What is judged is what the merged dvc.lock will name."""
    if e.proposal is None:
        return None
    if e.proposal.md5 != e.proposal.locked:
        named, left = e.proposal.locked[:12], e.proposal.md5[:12]
        wrong = f"dvc.lock names the model {named}, but the build left {left}"
    elif e.proposal.unlocked:
        wrong = f"dvc.lock names another {e.proposal.unlocked} than the build left"
    else:
        return Finding("lock", "PASS", "The model is the one that dvc.lock names.")
    return Finding("lock", "FAIL", f"{wrong}: run `ml reproduce` and commit dvc.lock.")


def days(e: Evidence) -> Finding | None:
    """The test window is long enough for an interval that means something."""
    if e.window is None:
        return None
    found, asked = len(e.window.days), e.params.gate.days
    numbers = {"days": found, "asked": asked}
    if found == 0:
        sentence = "There is no labelled day later than both models' training: nothing was measured."
        return Finding("days", "INCONCLUSIVE", sentence, numbers)
    words = f"The test window has {found} days, {e.window.days[0]} to {e.window.days[-1]}"
    drawn = e.window.units
    if drawn.count < min(found, least := drawn.least(asked)):
        sentence = f"{words}, and rows of {drawn.count} {drawn.name} alone: at least {least} are asked for."
        return Finding("days", "INCONCLUSIVE", sentence, numbers | {drawn.name: drawn.count})
    if found < asked:
        sentence = f"{words}, and at least {asked} are asked for: add a month of data, or train on fewer."
        return Finding("days", "INCONCLUSIVE", sentence, numbers)
    if drawn.name != "days":
        words += f"; {drawn.count} {drawn.name} are drawn"
    return Finding("days", "PASS", f"{words}.", numbers)


def classes(e: Evidence) -> Finding | None:
    """The test window has all that a label can be."""
    if e.window is None or not e.window.days or e.task.lacks(e.window.label):
        return None
    if not (absent := e.task.absent(e.window.label)):
        return None
    words = f"{e.contract.label.name} is never {' nor '.join(absent)} in the test window"
    sentence = f"{words}, so nothing says how well that is told: add a month of data, or train on fewer."
    return Finding("classes", "INCONCLUSIVE", sentence, {"absent": len(absent)})


def equal(e: Evidence) -> Finding | None:
    """A candidate that answers as the champion does needs no statistics."""
    if not e.equal:
        return None
    words = "Equal: the candidate answers every row of the test window as the champion does"
    sentence = f"{words} (max |{e.task.delta}| = {e.largest_difference:.1g})."
    return Finding("equal", "PASS", sentence, {"max_dp": e.largest_difference})


def first(e: Evidence) -> Finding | None:
    """Without a champion there is nothing to compare with; what is absolute is asked all the same."""
    if e.proposal is None or e.champion_model is not None or e.gathered:
        return None
    sentence = "There is no champion yet: the first model passes on what is absolute alone."
    return Finding("champion", "PASS", sentence)


def code(e: Evidence) -> Finding | None:
    """Whose code made the candidate. What the proposal's own code made is its own word, and a maintainer's to
    let through; the judge saw all the rest for itself."""
    found = e.changes
    if e.proposal is None:
        return None
    if not found.known:
        sentence = (
            "The proposal's commit is not to be had here, so nobody knows which code made its candidate: "
            "fetch it, or push it again."
        )
        return Finding("code", "INCONCLUSIVE", sentence)
    if found.behind:
        sentence = (
            f"The branch lacks what the base branch changed in {_listed(found.behind)}, so its candidate was "
            "made by other code than will be merged: update the branch and build it again."
        )
        return Finding("code", "INCONCLUSIVE", sentence)
    if not found.training:
        return Finding("code", "PASS", "The base branch's code makes this candidate: the judge did so too.")
    words = "its rows and its training are" if found.features else "its training is"
    sentence = f"The proposal changes {_listed(found.training)}: {words} its own word, for a maintainer."
    return Finding("code", "PASS", sentence, {"files": len(found.training)}, warning=True)


def _listed(paths: tuple[str, ...]) -> str:
    return few([one_line(path, 80) for path in paths])


def reproducible(e: Evidence) -> Finding | None:
    """The same lock and seed give the same model again, to the judge wherever the base's code trains."""
    if e.candidate is None or e.proposal is None or any(found.rule == "reproducible" for found in e.gathered):
        return None
    if e.retrained is not None:
        return _retrained(e.retrained, e.task.delta)
    if e.repeated is None:
        left = "The build left no model that was trained again"
        sentence = f"{left}: run `ml reproduce`, whose stage `verify` makes it."
        return Finding("reproducible", "INCONCLUSIVE", sentence)
    numbers = {"max_dp": e.repeated}
    if not e.repeated <= SAME:
        return Finding("reproducible", "FAIL", _chance(e.repeated, e.task.delta), numbers)
    sentence = f"Trained again by the build, it answers the same (max |{e.task.delta}| = {e.repeated:.1g})."
    return Finding("reproducible", "PASS", sentence, numbers)


def beside(e: Evidence) -> Finding | None:
    """What ships with the model, and what the drift check goes by, is what the model and the rows give."""
    if e.retrained is None:
        return None
    if e.changes.figures:
        words = f"The proposal changes {_listed(e.changes.figures)}"
        sentence = f"{words}: what ships beside the model is its own word, for a maintainer."
        return Finding("beside", "PASS", sentence, warning=True)
    if e.retrained.beside is None:
        sentence = "Golden rows, reference and figures are what the judge makes of this model."
        return Finding("beside", "PASS", sentence)
    sentence = f"{e.retrained.beside}: run `ml reproduce` and commit dvc.lock."
    return Finding("beside", "FAIL", sentence)


def _retrained(again: Again, delta: str) -> Finding:
    numbers = {"max_dp": again.largest, "mean_dp": again.mean}
    if again.same:
        words = f"Trained again by the judge, it answers the same (max |{delta}| = {again.largest:.1g})."
        return Finding("reproducible", "PASS", words, numbers)
    if not again.repeats:
        return Finding("reproducible", "FAIL", _chance(again.largest, delta), numbers)
    words = f"max |{delta}| = {again.largest:.2g} on the test window, {again.mean:.1g} on average"
    if again.mean > NEAR:
        sentence = f"The model is not what params.yaml and this code give ({words}): run `ml reproduce`."
        return Finding("reproducible", "FAIL", sentence, numbers)
    sentence = (
        f"The model is nearly, but not, what params.yaml and this code give ({words}): another kind of "
        "processor may bring that about; make it where the checks run, or a maintainer decides."
    )
    return Finding("reproducible", "INCONCLUSIVE", sentence, numbers)


def _chance(largest: float, delta: str) -> str:
    return (
        f"Trained again from the same lock and seed, the model answers otherwise (max |{delta}| = "
        f"{largest:.2g} on the test window, at most {SAME:g} passes): give every source of chance the seed."
    )
