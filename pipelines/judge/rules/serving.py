"""Can what calls and runs the champion call and run the candidate?"""

from pipelines.base.errors import one_line
from pipelines.core.contract import Finding, Verdict
from pipelines.core.schema import refusals
from pipelines.judge.evidence import Evidence


def compatibility(e: Evidence) -> Finding | None:
    """Every request that the champion answers, the candidate answers too, with an interval where the champion
    gives one, or serving.api is raised."""
    if e.proposal is None or e.champion_model is None:
        return None
    old, new = e.champion_model.serving.api, e.proposal.params.serving.api
    if new > old:
        sentence = f"params.yaml: serving.api is raised from {old} to {new}: callers are told to change."
        return Finding("compatibility", "PASS", sentence, warning=True)
    if e.champion_model.serving.interval and e.shipped is None:
        lost = "The champion's answers come with an interval, the candidate's would come without one"
        sentence = f"{lost}. Train on more days, or raise params.yaml: serving.api."
        return Finding("compatibility", "FAIL", sentence)
    accepts, accepted = e.proposal.card.request, e.champion_model.card.request
    if not (accepts and accepted):
        sentence = "A model.json has no request schema: nothing shows that callers can stay as they are."
        return Finding("compatibility", "INCONCLUSIVE", sentence)
    reasons = [one_line(reason) for reason in refusals(accepted, accepts)] or _refused_golden(e)
    if reasons:
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        words = f"Requests that the champion accepts would be refused: {reasons[0]}{more}"
        sentence = f"{words}. Keep them, or raise params.yaml: serving.api."
        return Finding("compatibility", "FAIL", sentence, {"reasons": len(reasons)})
    tried = len(e.champion_model.golden.rows)
    sentence = f"Whoever calls the champion can call the candidate; its {tried} golden requests were tried."
    return Finding("compatibility", "PASS", sentence, {"tried": tried})


def _refused_golden(e: Evidence) -> list[str]:
    """Why the candidate's schema, or the candidate, refuses requests that the champion must answer."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    assert e.proposal is not None and e.champion_model is not None
    try:
        Draft202012Validator.check_schema(e.proposal.card.request)
        validator = Draft202012Validator(e.proposal.card.request)
        for row in e.champion_model.golden.rows:
            for error in validator.iter_errors(dict(row)):
                return [f"a golden request: {one_line(error.message)}"]
        asked = [column for column in e.contract.features if column.name in e.proposal.model.inputs]
        if {column.name for column in asked} == set(e.proposal.model.inputs):
            e.proposal.model.predict_rows(asked, e.champion_model.golden.rows)
    except SchemaError as error:
        return [f"its request schema is none ({one_line(error.message)})"]
    except Exception as error:  # a stranger's schema may hold anything; onnxruntime has its own classes
        return [f"the golden requests cannot be asked ({one_line(str(error))})"]
    return []


def size(e: Evidence) -> Finding | None:
    """The model is not so much larger that serving it changes."""
    if e.proposal is None or e.champion_model is None or not e.champion_model.size:
        return None
    words = f"The model has {e.proposal.size / 1024:,.0f} kB"
    ratio = e.proposal.size / e.champion_model.size
    return _within("size", words, ratio, e.params.gate.budget.size, {"bytes": e.proposal.size})


def latency(e: Evidence) -> Finding | None:
    """One row takes not much longer to answer, the two models timed in turn."""
    if e.latency is None:
        return None
    candidate, champion = e.latency
    words = f"One row takes {1e3 * candidate:.3f} ms in the median"
    budget = e.params.gate.budget.latency
    return _within("latency", words, candidate / champion, budget, {"seconds": candidate})


def _within(rule: str, words: str, ratio: float, limit: float, numbers: dict[str, float]) -> Finding:
    sentence = f"{words}, {ratio:.2f} times the champion's; {limit:g} times is allowed."
    verdict: Verdict = "FAIL" if ratio > limit else "PASS"
    return Finding(rule, verdict, sentence, {**numbers, "ratio": ratio, "limit": limit})
