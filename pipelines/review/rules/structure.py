"""Is what is judged what would be merged, and is there enough to judge it by?"""

from pipelines.contract import Finding
from pipelines.review.evidence import SAME, Evidence


def lock(e: Evidence) -> Finding | None:
    """What is judged is what the merged dvc.lock will name."""
    if e.proposal is None:
        return None
    if e.proposal.md5 != e.proposal.locked:
        return Finding(
            "lock",
            "FAIL",
            f"dvc.lock names the model {e.proposal.locked[:12]}, but the build left {e.proposal.md5[:12]}: "
            "run `ml reproduce` and commit dvc.lock.",
        )
    return Finding("lock", "PASS", "The model is the one that dvc.lock names.")


def days(e: Evidence) -> Finding | None:
    """V is long enough for an interval that means something."""
    if e.window is None:
        return None
    found, asked = len(e.window.days), e.params.gate.days
    if found == 0:
        sentence = "There is no labelled day later than both models' training: nothing was measured."
        return Finding("days", "INCONCLUSIVE", sentence, {"days": 0, "asked": asked})
    words = f"V has {found} days, {e.window.days[0]} to {e.window.days[-1]}"
    if found < asked:
        sentence = f"{words}, and at least {asked} are asked for: add a month of data, or train on fewer."
        return Finding("days", "INCONCLUSIVE", sentence, {"days": found, "asked": asked})
    return Finding("days", "PASS", f"{words}.", {"days": found, "asked": asked})


def equal(e: Evidence) -> Finding | None:
    """A candidate that answers as the champion does needs no statistics."""
    if not e.equal:
        return None
    sentence = (
        f"Equal: the candidate answers every row of V as the champion does (max |Δp| = "
        f"{e.largest_difference:.1g})."
    )
    return Finding("equal", "PASS", sentence, {"max_dp": e.largest_difference})


def first(e: Evidence) -> Finding | None:
    """Without a champion there is nothing to compare with; what is absolute is asked all the same."""
    if e.proposal is None or e.champion is not None or e.gathered:
        return None
    return Finding(
        "champion", "PASS", "There is no champion yet: the first model passes on what is absolute alone."
    )


def reproducible(e: Evidence) -> Finding | None:
    """The same lock and seed give the same model again."""
    if e.scored is None or e.proposal is None or any(found.rule == "reproducible" for found in e.gathered):
        return None
    if e.repeated is None:
        sentence = (
            "The build left no model that was trained again: run `ml reproduce`, whose stage `verify` "
            "makes it."
        )
        return Finding("reproducible", "INCONCLUSIVE", sentence)
    numbers = {"max_dp": e.repeated}
    if not e.repeated <= SAME:
        sentence = (
            f"Trained again from the same lock and seed, the model answers otherwise (max |Δp| = "
            f"{e.repeated:.2g} on V, at most {SAME:g} passes): give every source of chance the seed."
        )
        return Finding("reproducible", "FAIL", sentence, numbers)
    return Finding(
        "reproducible", "PASS", f"Trained again, it answers the same (max |Δp| = {e.repeated:.1g}).", numbers
    )
