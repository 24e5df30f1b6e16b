"""A gate.json with no more in it than a test needs."""

from typing import Any

HEAD, BASE = "1" * 40, "2" * 40
SENTENCES = {
    "PASS": "ROC-AUC is as good",
    "INCONCLUSIVE": "The test window has 7 days, not 28",
    "FAIL": "log-loss is worse by 0.02",
}


def verdict(word: str = "PASS", **changes: Any) -> dict[str, Any]:
    """The JSON of a verdict with one finding that has it."""
    finding = {"rule": "a_rule", "verdict": word, "sentence": SENTENCES.get(word, word)}
    return {"version": 1, "head": HEAD, "base": BASE, "verdict": word, "findings": [finding]} | changes


def candidate(sha256: str) -> dict[str, Any]:
    """The JSON of a candidate."""
    days = {"first": "2013-01-01", "last": "2013-05-31", "rows": 1000}
    return {"sha256": sha256, "estimator": "made", "settings": "{}", **days}
