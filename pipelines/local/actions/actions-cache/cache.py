"""Link $FOLDER to the entry $KEY of this run's own scope; it starts as a copy of what a scope it sees has."""

import hashlib
import os
import shutil
import sys
from pathlib import Path


def name(folder: str, key: str) -> str:
    """GitHub too keeps entries of different paths apart."""
    one, other = (hashlib.sha256(text.encode()).hexdigest() for text in (folder, key))
    return f"{one[:12]}-{other[:24]}"


def seen(store: Path, folder: str, key: str, prefixes: list[str]) -> Path | None:
    """The entry of the key, else the newest of the first prefix that has any."""
    if (exact := store / name(folder, key)).exists():
        return exact
    keys = {path.with_suffix(""): path.read_text() for path in store.glob(f"{exact.name[:12]}-*.key")}
    for prefix in prefixes:
        if entries := [entry for entry, text in keys.items() if text.startswith(prefix) and entry.is_dir()]:
            return max(entries, key=lambda path: path.stat().st_mtime_ns)
    return None


folder, key = os.environ["FOLDER"].strip(), os.environ["KEY"]
if "\n" in folder or any(mark in folder for mark in "*?["):
    sys.exit(f"the stand-in of actions/cache keeps one folder, not {folder!r}")
caches, scopes = Path(os.environ["GREENLIGHT_CACHES"]), os.environ["GREENLIGHT_SCOPES"].splitlines()
stores = [caches / scope.replace("/", "-") for scope in scopes]
store = stores[0]
store.mkdir(parents=True, exist_ok=True)
entry = store / name(folder, key)
prefixes = [key, *filter(None, (line.strip() for line in os.environ["RESTORE"].splitlines()))]
found = next(filter(None, (seen(place, folder, key, prefixes) for place in stores)), None)
if found is None:
    entry.mkdir()
elif found != entry:
    shutil.copytree(found, entry, symlinks=True)
os.utime(entry)
(store / f"{entry.name}.key").write_text(key)
link = Path(folder)
link.parent.mkdir(parents=True, exist_ok=True)
if link.is_symlink():
    link.unlink()
elif link.exists():
    shutil.copytree(link, entry, dirs_exist_ok=True)
    shutil.rmtree(link)
link.symlink_to(entry, target_is_directory=True)
matched = "" if found is None else found.with_name(f"{found.name}.key").read_text()
with Path(os.environ["GITHUB_OUTPUT"]).open("a") as out:
    out.write(f"cache-hit={'true' if matched == key else 'false'}\ncache-matched-key={matched}\n")
print(f"cache: {matched or 'no entry'} for {key}")
