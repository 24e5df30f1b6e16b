"""What changes for those who are decided about: on which rows of the test window the candidate would decide
otherwise than the champion, and what that costs or saves. Shown, not judged: the rule `cost` judges."""

from typing import Any

import numpy as np

from pipelines.base.errors import one_line
from pipelines.core.contract import Contract
from pipelines.judge.evidence import Evidence, Window

MOST = 10  # rows that are shown


def decisions(e: Evidence) -> dict[str, Any] | None:
    """gate.json's "decisions". `moves`: how many rows go each way, on how many of them the candidate costs
    less or more, and what is saved in all; `rows`: those whose answers differ most. None where there are not
    two models that differ."""
    if e.window is None or e.candidate is None or e.champion is None or e.equal:
        return None
    task, label, costs = e.task, e.window.label, e.params.decision
    before, after = e.champion.p, e.candidate.p
    moved = task.moved(before, after, costs)
    saved = task.charges(label, before, costs) - task.charges(label, after, costs)
    most = np.argsort(-task.difference(before, after), kind="stable")[:MOST]
    words = (task.answer_words(before[most]), task.answer_words(after[most]), task.label_words(label[most]))
    told = zip(most, *words, saved[most].tolist(), strict=True)
    return {
        "moves": [_move(str(name), saved[moved == name]) for name in np.unique(moved) if name],
        "rows": [
            _place(e.window, row, e.contract)
            | {"champion": old, "candidate": new, "label": came, "saved": cost}
            for row, old, new, came, cost in told
        ],
    }


def _move(name: str, saved: np.ndarray) -> dict[str, Any]:
    counts = {"rows": len(saved), "less": int((saved > 0).sum()), "more": int((saved < 0).sum())}
    return {"name": one_line(name, 80), **counts, "saved": float(saved.sum())}


def _place(window: Window, row: int, contract: Contract) -> dict[str, Any]:
    """When and where a row is: no more of it than the report's slices show of all."""
    given = window.rows.iloc[row]
    slices = {c.name: one_line(str(given[c.name]), 40) for c in contract.slices if c.name in given}
    return {"time": f"{given[contract.time.name]:%Y-%m-%d %H:%M}", "slices": slices}
