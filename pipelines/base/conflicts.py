"""Files in which git left both sides of a merge: nothing that reads them can go on."""

import re
from pathlib import Path

from pipelines.base.errors import UserError

MARK = re.compile(r"^(<{7} |>{7} |={7}$)", re.MULTILINE)
# What a stage or a command writes is not merged by hand: it is made again.
MADE = {
    "dvc.lock": "take either side with `git checkout --theirs dvc.lock`, run `ml reproduce`",
    "data.dvc": "take either side with `git checkout --theirs data.dvc`, run `ml ingest` and `dvc add data`",
}


def refuse(path: Path, text: str | None = None) -> None:
    """UserError where the file (or `text`, which was read from it) holds conflict markers."""
    if text is None:
        if not path.is_file():
            return
        text = path.read_text(encoding="utf-8", errors="replace")
    if len(marks := list(MARK.finditer(text))) >= 2:
        line = text.count("\n", 0, marks[0].start()) + 1
        way_out = MADE.get(path.name, "keep the lines that you want and delete the markers")
        way_out += f", then `git add {path.name}`"
        raise UserError(f"{path}, line {line}: git left a conflict there: {way_out}")
