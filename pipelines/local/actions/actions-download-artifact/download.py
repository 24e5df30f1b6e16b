"""Copy the artifact $NAME of a run into $FOLDER; without a name, each (whose name fits $PATTERN) into a
folder of its name or, where $MERGE is true, into $FOLDER itself."""

import os
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path

here = os.environ["GITHUB_RUN_ID"]
# As the real one: without a token the input run-id is not looked at.
run = (os.environ["RUN"] if os.environ["TOKEN"] else "") or here
if not run.isdigit():
    sys.exit(f"download-artifact: {run!r} is not a run id")
if run != here:  # another run's artifacts are asked for at the API, with the token's `actions: read`
    repository = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}"
    url = f"{repository}/actions/runs/{run}/artifacts"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {os.environ['TOKEN']}"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        direct.open(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        sys.exit(f"download-artifact: {error.code} {error.read(300).decode(errors='replace')}")
store, folder = Path(os.environ["GREENLIGHT_ARTIFACTS"]) / run, Path(os.environ["FOLDER"]).expanduser()
if name := os.environ["NAME"]:
    if "/" in name or name.startswith(".") or not (store / name).is_dir():
        sys.exit(f"download-artifact: run {run} has no artifact {name!r}")
    shutil.copytree(store / name, folder, dirs_exist_ok=True)
else:
    for artifact in sorted(path for path in store.glob(os.environ["PATTERN"] or "*") if path.is_dir()):
        if not artifact.name.startswith("."):
            to = folder if os.environ["MERGE"] == "true" else folder / artifact.name
            shutil.copytree(artifact, to, dirs_exist_ok=True)
with Path(os.environ["GITHUB_OUTPUT"]).open("a") as out:
    out.write(f"download-path={folder.absolute()}\n")
print(f"download-artifact: {name or 'all'} of run {run}")
