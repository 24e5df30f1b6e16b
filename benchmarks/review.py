"""What judging a proposal costs, on the models of this checkout: `make bench ONLY=review`."""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import figure
from pipelines import params as parameters
from pipelines.review import evidence, gate, proposal, report
from pipelines.training import table, train

LIMIT = 20.0  # seconds


def main() -> None:
    """Time `ml gate` and `ml report` on a candidate of another seed, scoring apart."""
    if not Path("models/window.parquet").is_file():
        sys.exit("models/ is not complete: run `ml reproduce` first")
    scoring = 0.0
    gather = evidence.gather

    def timed(*arguments: object, **named: object) -> evidence.Evidence:
        nonlocal scoring
        started = time.perf_counter()
        found = gather(*arguments, **named)  # type: ignore[arg-type]
        scoring = time.perf_counter() - started
        return found

    with tempfile.TemporaryDirectory() as temporary:
        candidate = other_seed(Path(temporary, "candidate"))
        gate.gather = timed
        started = time.perf_counter()
        gate.run(candidate, Path(), Path(temporary, "evidence"))
        report.run(Path(temporary, "evidence"))
        total = time.perf_counter() - started
    figure("gathering and scoring", scoring, "s")
    beyond = total - scoring
    figure("gate and report beyond scoring", beyond, "s", f"<= {LIMIT:g}", beyond <= LIMIT)


def other_seed(folder: Path) -> Path:
    """What a proposal's build leaves that has changed the seed."""
    params = parameters.load()
    changed = params.model_copy(update={"train": params.train.model_copy(update={"seed": 1})})
    content = train.fit(changed, table.load())
    shutil.copytree("models", folder / "models")
    for name in ("model.onnx", "verification/again.onnx"):
        (folder / "models" / name).write_bytes(content)
    shutil.copy("params.yaml", folder)
    now = proposal.md5(folder / "models/model.onnx")
    lock = Path("dvc.lock").read_text(encoding="utf-8")
    (folder / "dvc.lock").write_text(lock.replace(proposal.md5(Path("models/model.onnx")), now))
    return folder


if __name__ == "__main__":
    main()
