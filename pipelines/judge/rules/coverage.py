"""Does the interval around an answer hold as many labels as it says?"""

import numpy as np

from pipelines.core.contract import Finding
from pipelines.judge.evidence import Evidence


def coverage(e: Evidence) -> Finding | None:
    """The interval that ships is not shown to hold fewer labels of the test window than the level that the
    base asks for. FAIL only where the share's whole interval is below it by more than the margin; where only
    the point is, it may be chance."""
    level, margin = e.params.decision.coverage, e.params.gate.margin.coverage
    if e.candidate is None or e.window is None or level is None or margin is None:
        return None
    if e.equal and e.same_level and e.retrained is not None:
        return None
    if e.shipped is None:
        if not e.same_level:  # more than any days tell: else nobody would be asked for it
            sentence = "No interval ships with the answers, and the proposal changes decision.coverage."
            return Finding("coverage", "INCONCLUSIVE", sentence)
        sentence = f"No interval ships with the answers: training has too few days for {100 * level:g}%."
        return Finding("coverage", "PASS", sentence, warning=True)
    units, half = e.window.units, e.shipped.half_width
    inside = np.abs(e.task.level(e.window.label) - e.task.level(e.candidate.p)) <= half
    held = np.bincount(units.of, weights=inside, minlength=units.count)
    rows = np.bincount(units.of, minlength=units.count)
    share, (low, high) = float(inside.mean()), e.interval((e.weights @ held) / (e.weights @ rows))
    numbers = {"share": share, "low": low, "high": high, "level": level, "margin": margin, "half_width": half}
    unit = f"{half:.4g} {e.contract.label.unit}".rstrip()
    words = f"{share:.1%} [{low:.1%}, {high:.1%}] of the labels are within {unit} of their answers"
    asked = f"the {100 * level:g}% that are asked for, by over {100 * margin:g} points"
    if high < level - margin:
        sentence = f"{words}, shown to be fewer than {asked}: the interval is too narrow."
        return Finding("coverage", "FAIL", sentence, numbers)
    if share < level - margin:
        sentence = f"{words}, fewer than {asked}, perhaps by chance."
        return Finding("coverage", "INCONCLUSIVE", sentence, numbers)
    wide = ", and less would have held these" if low > level else ""
    sentence = f"{words}; {100 * level:g}% are asked for{wide}."
    return Finding("coverage", "PASS", sentence, numbers, warning=high < level)
