"""Releases that are what a merged commit holds, and origin's main that they were merged into."""

import hashlib
import shutil
import time
from pathlib import Path
from typing import Any

import yaml

from pipelines.base.files import sha256_of_tree, write_json
from pipelines.registry.store import Store
from tests.project import commit, git
from tests.releases import described


def merge(origin: Path, release: Path) -> str:
    """Let main on origin have what the release in this folder holds, and its dvc.lock; returns the commit."""
    work = origin.with_name(f"{origin.name}-main")
    if not work.exists():
        git(origin.parent, "init", "--quiet", "--initial-branch", "main", str(work))
    for path in work.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    source = release / "bento" / "src"
    shutil.copytree(source, work, dirs_exist_ok=True, ignore=shutil.ignore_patterns("models"))
    outs = [
        {"path": path.relative_to(source).as_posix(), "md5": hashlib.md5(path.read_bytes()).hexdigest()}
        for path in (source / "models").iterdir()
    ]
    (work / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"evaluate": {"outs": outs}}}))
    (work / "merged").write_text(str(time.time_ns()))  # what is merged again is another commit
    made = commit(work, f"merge {release.name[:12]}")
    git(work, "push", "--quiet", str(origin), "HEAD:refs/heads/main")
    return made


def small(store: Store, name: str, service: str = "print('served')\n", **bento: Any) -> str:
    """A release that nothing needs to start."""
    scratch = store.folder.with_name(f"{store.folder.name}-{name}")
    source = scratch / "src"
    for path, text in {
        "service.py": service,
        "bentofile.yaml": "service: service:S\n",
        "requirements/serve.txt": "bentoml\n",
        "models/model.onnx": f"the model of {name}",
    }.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text)
    release_id = sha256_of_tree(source)
    with store.put(release_id) as folder:
        shutil.copytree(source, folder / "bento" / "src")
        write_json(folder / "bento" / "bento.yaml", {"service": "service:S", "envs": [], **bento})
        (folder / "evidence").mkdir()
        described(folder, release_id, created=name)
    return release_id
