"""A drift.json with no more in it than a test needs."""

from typing import Any

from pipelines.artifacts.drift import Check


def check(verdict: str, **changes: Any) -> Check:
    """Production's check of October, with one month that says nothing."""
    training = {
        "first": "2013-01-01",
        "last": "2013-05-31",
        "label_rate": 0.2,
        "thresholds": {},
        "skills": {},
    }
    value = {
        "environment": "production",
        "through": "2013-10",
        "verdict": verdict,
        "reasons": ["bad twice"],
        "months": [{"month": "2013-10", "state": "unknown"}],
        "reference": training,
        "log": {"lines": 0, "predictions": 0},
        "params": {"psi": 0.2, "brier_skill": 0.05, "months": 2, "days": 14},
    }
    return Check.parse(value | changes)
