"""What judging a proposal costs, on the models of this checkout: `make bench ONLY=review`."""

import re
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import figure, run
from benchmarks.pipeline import call
from pipelines.base import git
from pipelines.judge import evidence, gate
from pipelines.problem import PROBLEM
from pipelines.report import report

LIMIT_SECONDS = 20.0
SEED = re.compile(r"^( *seed: *)\d+", re.MULTILINE)


def main() -> None:
    """Time `ml gate` and `ml report` on a candidate of another seed, scoring apart."""
    if not Path("models/window.parquet").is_file():
        sys.exit("models/ is not complete: run `ml reproduce` first")
    scoring = 0.0
    gather = gate.gather

    def timed(*arguments: object, **named: object) -> evidence.Evidence:
        nonlocal scoring
        started = time.perf_counter()
        found = gather(*arguments, **named)  # type: ignore[arg-type]
        scoring = time.perf_counter() - started
        return found

    with tempfile.TemporaryDirectory() as temporary:
        candidate = other_seed(Path(temporary))
        gate.gather = timed
        started = time.perf_counter()
        gate.run(candidate, Path(), PROBLEM, Path(temporary, "evidence"))
        report.run(PROBLEM.contract, Path(temporary, "evidence"))
        total = time.perf_counter() - started
    figure("gathering, scoring and training again", scoring, "s")
    beyond = total - scoring
    figure("gate and report beyond scoring", beyond, "s", f"<= {LIMIT_SECONDS:g}", beyond <= LIMIT_SECONDS)


def other_seed(folder: Path) -> Path:
    """What a proposal's build leaves that has changed the seed."""
    clone = folder / "clone"
    git.run("clone", "--quiet", ".", str(clone))
    params = clone / "params.yaml"
    params.write_text(SEED.sub(r"\g<1>1", params.read_text(encoding="utf-8"), count=1), encoding="utf-8")
    call(clone, "ml", "reproduce")
    return clone


if __name__ == "__main__":
    run(main)
