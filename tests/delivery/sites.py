"""What the tests of `ml page` show: releases with evidence, a host, GitHub; as hostile as asked."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts.drift import Check
from pipelines.artifacts.release import Proposal
from pipelines.base.files import write_json, write_text
from pipelines.edge.edge import Edge, Route
from pipelines.host.host import Host
from pipelines.page import seen
from pipelines.registry.store import Store
from tests.code.test_report import HOSTILE, gate
from tests.delivery.test_store import fill
from tests.monitoring.checks import check
from tests.problems.parcels import PROBLEM
from tests.verdicts import HEAD

LOST = "d" * 64
MONTHS = """month,trained,rows,label_rate,roc_auc,log_loss,brier_skill
2013-04,true,900,0.2,0.7,0.5,0.12
2013-05,true,900,0.2,0.7,0.5,0.15
2013-06,false,900,0.3,0.7,0.5,0.11
"""
TABLE = f"| a | b |\n| --- | --- |\n| {HOSTILE} | x |"
CARD = f"# Model card\n\n## Data\n\n{HOSTILE}\n\n{TABLE}\n\n```yaml\nx: 1\n```\n"
PICTURE = '<img src="data:image/svg+xml;base64,PHN2Zy8+" alt="{}">'
WORDS = "Difference of each metric with its 90 % interval and the margin"  # of a plot


def release(folder: Path, name: str, hostile: str = "fine", **more: Any) -> str:
    """A release with evidence of each kind, whose texts are `hostile`, in the store; returns its id."""
    here, kept = folder / name, folder / name / "evidence"
    fill(here, name, **{"created": "2026-01-01T00:00:00+00:00", "verdict": "PASS"} | more)
    write_json(kept / "gate.json", gate("PASS", hostile))
    write_text(kept / "card.md", CARD)
    write_text(kept / "months.csv", MONTHS)
    write_json(
        kept / "metrics.json",
        {"rows": 9, "days": 3, "label_rate": 0.2, "threshold": 0.5, "brier_skill": 0.111, "log_loss": 0.4321},
    )
    Proposal(number=7, title=hostile, head=HEAD, run=12, override=hostile).write(kept)
    write_text(
        kept / "report.html",
        f"<script>alert(1)</script>{PICTURE.format(WORDS)}",
    )
    return Store(folder / "home" / "store").add(here)


def hosted(home: Path, serves: str, monkeypatch: pytest.MonkeyPatch) -> Host:
    value: dict[str, Any] = {
        "version": 1,
        "environment": "production",
        "home": str(home),
        "folder": str(home / "production"),
        "tools": str(home / "tools"),
        "edge_url": "http://127.0.0.1:1",
        "admin_url": "http://127.0.0.1:1",
        "models": [{"name": PROBLEM.name, "blue": 1, "green": 2}],
        "socket": str(home / "socket"),
    }
    host = Host.told(value)
    host.write(home / "production")
    monkeypatch.setattr(Edge, "route", lambda edge: Route("blue", serves))
    return host


def drifted(verdict: str) -> Check:
    """Two months of it, and hostile words."""
    bad = {"month": "2013-09", "state": "bad", "brier_skill": -0.2, "interval": [-0.4, 0.1], "events": 9}
    fault = {"month": "2013-10", "state": "fault", "faults": [{"feature": HOSTILE, "sentence": HOSTILE}]}
    return check(verdict, months=[bad, fault], reasons=[HOSTILE], warnings=[HOSTILE])


class GitHub:
    """What GitHub says of open pull requests."""

    def list(self, path: str) -> list[dict[str, Any]]:
        assert path == "/pulls?state=open"
        head = {"sha": HEAD, "ref": HOSTILE}
        about = {
            "title": HOSTILE,
            "user": {"login": HOSTILE},
            "created_at": "2026-01-02T00:00:00Z",
            "head": head,
        }
        return [{**about, "number": n, "draft": n == 1} for n in range(1, seen.MOST_PROPOSALS + 3)]

    def call(self, *_: Any, **__: Any) -> dict[str, Any]:
        said = {"context": "greenlight/gate", "state": "failure", "description": HOSTILE}
        return {"statuses": [{"context": "ci", "state": "success"}, said]}
