"""Rare events, weekly looks, one row a day: from the source to a verdict that a statistician would sign."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.base.files import read_json
from pipelines.core.params import parse
from pipelines.judge import explain, gate
from tests.model.proposals import commit, proposed, refused
from tests.problems.seldom import PARAMS, PROBLEM, source
from tests.problems.yours import build

PLANS = {
    "rare": (source.RARE, "2013-06"),
    "weekly": (source.WEEKLY, "2013-06"),
    "daily": (source.DAILY, "2012-12"),
}


def built(folder: Path, last: str, weight: float) -> Path:
    """A build of the plan's data that was trained up to `last`, with its params.yaml and dvc.lock."""
    values, months = PARAMS.model_dump(mode="json"), source.months()
    values["data"] = {"first": months[0], "through": months[-1]}
    values["train"] |= {"first": months[0], "last": last, "settings": {"weight": weight}}
    build(parse(values), PROBLEM, folder)
    files = [path for path in sorted((folder / "models").glob("*")) if path.is_file()]
    outs = [{"path": f"models/{p.name}", "md5": hashlib.md5(p.read_bytes()).hexdigest()} for p in files]
    (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"train": {"outs": outs}}}))
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    return folder


@pytest.mark.parametrize("kind", PLANS)
def test_it_goes_from_the_source_to_an_honest_verdict(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, last = PLANS[kind]
    monkeypatch.setattr(source, "PLAN", plan)
    monkeypatch.setattr(explain, "PATIENCE_SECONDS", 0.0)
    base = commit(built(tmp_path / "base", last, 1.0))

    def judge(weight: float) -> tuple[str, dict[str, dict[str, Any]], int]:
        candidate = built(tmp_path / f"{weight}", last, weight)
        gate.run(candidate, base, PROBLEM, tmp_path / "evidence", head=proposed(base, candidate))
        told = read_json(tmp_path / "evidence/gate.json")
        return told["verdict"], {found["rule"]: found for found in told["findings"]}, told["window"]["days"]

    verdict, as_good, days = judge(0.8)
    assert days == {"rare": 92, "weekly": 27, "daily": 365}[kind]
    if kind == "rare":  # 21 stops: heat alone may tell too much, and nobody knows whether the floor is kept
        assert verdict == "INCONCLUSIVE" and as_good["floor_brier_skill"]["warning"]
        blocking = {rule for rule, found in as_good.items() if found["verdict"] != "PASS"}
        assert blocking == {"single_feature"} and "(21 of them" in as_good["single_feature"]["sentence"]
    else:
        assert verdict == "PASS" and as_good["shuffled"]["numbers"]["low"] < 0.55
    assert "within the margin of +5 %" in as_good["log_loss"]["sentence"]
    verdict, worse, _ = judge(0.0003)  # says nearly the same of all
    assert verdict == "FAIL" and refused(worse) >= {"calibration"}
    if kind == "rare":
        assert "do not show that surely" in worse["log_loss"]["sentence"]
    else:
        assert refused(worse) >= {"log_loss", "slices"}
