"""What `ml doctor` looks at in the repository: whose problem it has, and does all in it fit together?"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.base import git, recorded
from pipelines.base.errors import Refused, UserError, few, one_line
from pipelines.core import datafiles, params, rows
from pipelines.core.problem import Problem
from pipelines.core.room import mistake
from pipelines.setup import project
from pipelines.setup.beside import beside, unknown
from pipelines.setup.check import Check, State
from pipelines.training import ingest, remote, tracked

GROUP = "repository"
OWNERS = Path(".github/CODEOWNERS")
PLACEHOLDER = "@OWNER/"


def checks(problem: Problem) -> list[Check]:
    """The room, dvc.lock and data.dvc, where the data come from, and who owns the code."""
    return beside(
        [
            (unknown(GROUP, "problem", matters=False), partial(_problem, problem)),
            (unknown(GROUP, recorded.LOCK), _lock),
            (unknown(GROUP, "data.dvc"), _record),
            (unknown(GROUP, "source of data"), partial(_source, problem)),
            (unknown(GROUP, "code owners"), _owners),
        ]
    )


def _problem(problem: Problem) -> Check:
    """Whether the room holds the team's own."""
    yours = problem.name != project.example()
    says = f"{problem.name}, of yours" if yours else f"{problem.name}, which the template came with"
    way_out = "`ml new TABLE` writes pipelines/problem/ for a table of yours (README.md, Make it yours)"
    return Check(GROUP, "problem", State.ON if yours else State.OFF, says, way_out, matters=False)


def _lock() -> Check:
    """Whether dvc.lock is of the code, the params and the files here: all is read, and nothing runs."""
    check = partial(Check, GROUP, recorded.LOCK, way_out=f"`ml reproduce`, then commit {recorded.LOCK}")
    file = Path(recorded.LOCK)
    if not file.is_file():
        return check(state=State.OFF, says="no model was made yet", way_out="`ml ingest && ml reproduce`")
    try:
        made = recorded.outputs(recorded.stages(file.read_bytes(), at=Path()))
        differs = list(dict.fromkeys(_differences(tracked.repo(Path()).status(), made)))
    except UserError as error:
        return check(state=State.OFF, says=one_line(error))
    if differs:
        return check(state=State.OFF, says=f"it is not of {few(differs)} as here")
    if git.blob("HEAD", f"./{file}") != file.read_bytes():
        return check(state=State.OFF, says="it is not committed", way_out=f"commit {file}")
    return check(state=State.ON, says="it is of this code, these params and this lock")


def _differences(status: dict[str, Any], made: dict[str, str]) -> Iterator[str]:
    """What `dvc status` finds changed; what is merely missing here can be brought or made."""
    for stage in status.values():
        for found in stage:
            if not isinstance(found, dict):
                yield f"the command of a stage ({found})"
                continue
            for path, how in found.get("changed deps", {}).items():
                if isinstance(how, dict):  # a file of params
                    yield from (f"{path}: {key}" for key in how)
                elif how != "deleted" or (path not in made and path != datafiles.DATA.name):
                    yield path
    for path, name in made.items():
        if (here := tracked.md5_of_output(Path(path))) and here != name:
            yield path


def _record() -> Check:
    """Whether data.dvc is of the months of params.yaml, and data/, where it is here, what it says."""
    record_file = f"{datafiles.DATA}.dvc"
    again = f"`ml ingest`, then `dvc add {datafiles.DATA}`, and commit {record_file}"
    check = partial(Check, GROUP, record_file)
    try:
        ingest.require_months(record := tracked.Folder(datafiles.DATA))
    except UserError as error:
        return check(state=State.OFF, says=one_line(error), way_out=again)
    if not record.found():
        return check(state=State.ON, says=f"{record.count} files, none of them here: `ml restore`")
    if not record.is_as_recorded():
        way_out = f"`rm -r {datafiles.DATA} && ml restore`, or `dvc add {datafiles.DATA}` and a commit"
        return check(state=State.OFF, says=f"data/ differs: {record.difference()}", way_out=way_out)
    return check(state=State.ON, says=f"{record.count} files, here as recorded")


def _source(problem: Problem) -> Check:
    """Whether data can be had: from the DVC remote where there is one, else from the room's source."""
    check = partial(Check, GROUP, "source of data")
    try:
        if Path(f"{datafiles.DATA}.dvc").is_file() and (record := tracked.Folder(datafiles.DATA)).remote:
            if remote.has(record.repo, record.name):
                return check(state=State.ON, says=f"the DVC remote {record.remote} has data/")
            says = f"the DVC remote {record.remote} does not have data/ as recorded"
            return check(state=State.OFF, says=says, way_out="`ml reproduce`, then `ml push`")
        month = params.load().data.through
        says = f"pipelines/problem/source.py gives {month}, {rows.of_source(month, problem).num_rows:,} rows"
        return check(state=State.ON, says=says)
    except (UserError, Refused) as error:
        return check(state=State.OFF, says=one_line(error))
    except Exception as error:
        if not (said := mistake(error)):
            raise
        return check(state=State.OFF, says=said)


def _owners() -> Check:
    check = partial(Check, GROUP, "code owners", way_out=f"put a person or a team into {OWNERS}")
    if not OWNERS.is_file():
        return check(state=State.OFF, says=f"{OWNERS} does not exist, so nobody must approve")
    lines = [line.partition("#")[0].split()[1:] for line in OWNERS.read_text().splitlines()]
    owners = list(dict.fromkeys(owner for line in lines for owner in line))
    if any(owner.startswith(PLACEHOLDER) for owner in owners):
        return check(state=State.OFF, says=f"it still names {PLACEHOLDER}..., whom GitHub does not know")
    if not owners:
        return check(state=State.OFF, says="it names nobody")
    return check(state=State.ON, says=few(owners))
