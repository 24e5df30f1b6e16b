"""A job that waits until somebody agrees that it deploys to its environment: what it does meanwhile, and how
others see that and speak.

act cannot hold a job back. So a step before the job's own waits, by files in a folder of the run: JOB.asked
names the environment, until JOB.said has what one of its reviewers said."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.base.files import write_text

FOLDER = "waits"
APPROVED, REJECTED = "approved", "rejected"
ID = "agreed"  # of the step
STEP = """\
printf %s {environment} > {job}
mv {job} {job}.asked
until [ -e {job}.said ]; do sleep 0.2; done
cat {job}.said
grep --quiet ^{approved} {job}.said"""
EVEN_THEN = re.compile(r"\b(always|failure|cancelled)\(")  # a step runs though one before it failed


def hold(name: str, job: dict[str, Any], environment: Mapping[str, Any], folder: Path, address: str) -> None:
    """Let the steps of a job begin once a reviewer of its environment agrees, and none where they do not.

    `folder` is the run's; `address`: of the API where they say so. Where it is empty nobody can, and the job
    fails at once."""
    who, where = " or ".join(environment["reviewers"]), environment["name"]
    if not address:
        told = f"nobody serves GitHub's API here, by which {who} could approve the environment {where}"
        job["steps"] = [{"name": told, "run": "exit 1"}]
        return
    for step in job["steps"]:
        asked = str(step.get("if", "")).strip().removeprefix("${{").removesuffix("}}").strip()
        if EVEN_THEN.search(asked):
            step["if"] = f"steps.{ID}.outcome == 'success' && ({asked})"
    file = shlex.quote(str((folder / FOLDER / name).absolute()))
    script = STEP.format(environment=shlex.quote(where), job=file, approved=APPROVED)
    told = f"waits for {who} to approve the environment {where}: {address}"
    job["steps"].insert(0, {"id": ID, "name": told, "shell": "bash", "run": script})


def waiting(run: Path) -> dict[str, str]:
    """The jobs of the run in a folder that wait now, each with its environment."""
    return {file.stem: file.read_text() for file in run.glob(f"{FOLDER}/*.asked")}


def status(run: Path) -> str:
    """Of the run in a folder, as the API calls it; empty where none of its jobs has waited."""
    said = any(run.glob(f"{FOLDER}/*.said"))
    return "waiting" if waiting(run) else "in_progress" if said else ""


def say(run: Path, job: str, text: str) -> None:
    """What a job waits for, a line that begins with `approved` or `rejected`."""
    write_text(run / FOLDER / f"{job}.said", f"{text}\n")
    (run / FOLDER / f"{job}.asked").unlink()
