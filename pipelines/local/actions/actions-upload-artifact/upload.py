"""Copy what $PATHS names to $GREENLIGHT_ARTIFACTS/RUN/NAME, laid out as actions/upload-artifact does."""

import glob
import os
import re
import shutil
import sys
from pathlib import Path

HIDDEN = os.environ["HIDDEN"] == "true"


def within(root: Path) -> list[Path]:
    paths = [root] if root.is_file() else [path for path in root.rglob("*") if path.is_file()]
    inner = [(path, path.relative_to(root).parts or (path.name,)) for path in paths]
    return [path for path, parts in inner if HIDDEN or not any(part.startswith(".") for part in parts)]


name = os.environ["NAME"]
if not name or re.search(r'["\:<>|*?\r\n\\/]', name):
    sys.exit(f"upload-artifact: {name!r} is not a name for an artifact")
target = Path(os.environ["GREENLIGHT_ARTIFACTS"]) / os.environ["GITHUB_RUN_ID"] / name
patterns = [line.strip() for line in os.environ["PATHS"].splitlines() if line.strip()]
hits = (glob.glob(pattern, recursive=True, include_hidden=HIDDEN) for pattern in patterns)  # noqa: PTH207
roots = [Path(hit) for found in hits for hit in sorted(found)]
files = sorted({file.absolute() for root in roots for file in within(root)})
if not files:
    print(f"upload-artifact: no files were found at {', '.join(patterns)}: {os.environ['NONE']}")
    sys.exit(os.environ["NONE"] == "error")
if target.exists():
    if os.environ["OVERWRITE"] != "true":
        sys.exit(f"upload-artifact: 409 Conflict: this run has an artifact {name!r}; overwrite is false")
    shutil.rmtree(target)
# One folder gives its contents; several paths keep their places below the common ancestor.
contents = len(roots) == 1 and roots[0].is_dir()
base = os.path.commonpath([root.absolute() if contents else root.absolute().parent for root in roots])
temporary = target.with_name(f".{target.name}.part")
shutil.rmtree(temporary, ignore_errors=True)
for file in files:
    place = temporary / file.relative_to(base)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, place)  # contents only: the real one loses permissions too
temporary.rename(target)
print(f"upload-artifact: {name}, {len(files)} files")
