"""The rules of the gate: each a function from the evidence to a finding, or to None where it has no say.
Those that are asked are in the tuples here, or follow from the task's metrics (metrics.py). A rule of a
team's own is a function of pipelines/problem/rules.py, named in params.yaml: gate.rules."""

from collections.abc import Iterable
from typing import Any

from pipelines.base.errors import UserError, one_line
from pipelines.core.contract import Finding
from pipelines.core.problem import Problem
from pipelines.core.tasks.task import Task
from pipelines.judge.evidence import Evidence
from pipelines.judge.rules import calibration, leaks, metrics, serving, size, slices, structure
from pipelines.judge.rules.size import Rule

STRUCTURE: tuple[Rule, ...] = (
    structure.code,
    structure.lock,
    serving.compatibility,
    structure.days,
    structure.classes,
)
LEAKS: tuple[Rule, ...] = (
    leaks.inputs,
    leaks.leakage,
    leaks.single_feature,
    leaks.shuffled,
    structure.reproducible,
    structure.beside,
)
BUDGETS: tuple[Rule, ...] = (serving.size, serving.latency)


def judge(e: Evidence) -> list[Finding]:
    """Every rule's finding on this evidence, in the report's order."""
    own = named(e.params.gate.rules, e.problem)
    if e.unchanged and not any(finding.verdict == "FAIL" for finding in e.gathered):
        return [Finding("unchanged", "PASS", "No model changed: it is the champion's, byte for byte.")]
    found = [*e.gathered, *ask(e, (structure.equal, structure.first, *STRUCTURE, *LEAKS))]
    measured = ask(e, (*statistics(e.task), size.careful(calibration.coverage), *BUDGETS, *own))
    if not measured and not e.equal and not any(finding.verdict != "PASS" for finding in found):
        measured = [Finding("measured", "INCONCLUSIVE", "Nothing was measured.")]  # no data never passes
    return found + measured


def statistics(task: Task) -> tuple[Rule, ...]:
    """The rules that need two models' answers and no more."""
    floors = map(metrics.floor, task.floors)
    rules = (*metrics.compared(task), slices.slices, calibration.calibration, *floors)
    return tuple(map(size.careful, rules))


def ask(e: Evidence, rules: Iterable[Rule]) -> list[Finding]:
    """What those of the rules say that have a say. One that raises has not decided, and says so."""
    return [finding for rule in rules if (finding := _asked(rule, e)) is not None]


def _asked(rule: Rule, e: Evidence) -> Finding | None:
    name = getattr(rule, "__name__", str(rule))
    try:
        found = rule(e)
    except Exception as error:  # a team's own rule may do anything
        said = one_line(f"{type(error).__name__}: {error}".removesuffix(": "))
        return Finding(name, "INCONCLUSIVE", f"The rule {name} raised {said}, so it has not decided.")
    if found is None or isinstance(found, Finding):
        return found
    sentence = f"The rule {name} gave a {type(found).__name__} and no Finding, so it has not decided."
    return Finding(name, "INCONCLUSIVE", sentence)


def named(names: Iterable[str], problem: Problem) -> list[Rule]:
    """The team's own rules. UserError for a name that pipelines/problem/rules.py does not have."""
    if not (names := list(names)):
        return []
    rules: dict[str, Any] = {name: getattr(problem.rules, name, None) for name in names}
    if wrong := [name for name, rule in rules.items() if not callable(rule)]:
        room = "pipelines/problem/rules.py has no function of that name"
        raise UserError(f"params.yaml: gate.rules names {wrong[0]!r}, and {room}")
    return [rules[name] for name in names]
