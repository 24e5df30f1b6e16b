"""A proposal of values: who edits params.yaml in the browser has no training there, so its dvc.lock is still
that of other values. Then the judge makes it, where nothing else is proposed; else its author does."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.base import git
from pipelines.base.console import output, summary
from pipelines.base.errors import UserError, few, one_line
from pipelines.pulls import proposals, scope
from pipelines.pulls.proposals import Changes, Entry
from pipelines.pulls.scope import VALUES

LOCK, DATA = "dvc.lock", "data.dvc"
MAKE_IT = "run `ml reproduce`, commit params.yaml and dvc.lock"
SHOWN = 30  # characters of a path
NOWHERE = object()


@dataclass(frozen=True)
class Lock:
    """Whether a commit's dvc.lock is of its params.yaml. Where it is not: whether the judge makes it, else
    why not, with what its author does."""

    fits: bool = True
    by_judge: bool = False
    words: str = ""

    @property
    def waits(self) -> bool:
        """The judge makes it once the branch is up to date."""
        return not self.fits and self.by_judge and bool(self.words)


def run(base: str, head: str, repository: str) -> None:
    """`ml ci values`: does the judge make the dvc.lock of the commit `head`? Writes `judge` to the step's
    outputs. `repository` is where the head comes from. It spares a build that must fail: the judge asks for
    itself."""
    ours = repository == os.environ.get("GITHUB_REPOSITORY")
    lock = of(between(base, head), "" if ours else "a fork")
    output("judge", str(lock.by_judge).lower())
    if lock.by_judge:
        words = lock.words or "the workflow `judge` trains, commits dvc.lock to this branch, and judges that"
        summary(
            f"Nothing is built here: dvc.lock is not of this params.yaml, and nothing else changes: {words}."
        )


def of(changes: Changes, elsewhere: str = "") -> Lock:
    """What there is to say of a head's dvc.lock; `elsewhere`: where it is, if not on a branch of ours."""
    try:
        values, lock = (changes.read(changes.after.get(name)) for name in (VALUES, LOCK))
        if fits(values, lock):
            return Lock()
    except UserError:
        return Lock()  # whoever reads the two says what is wrong with them
    if others := beside(changes):
        first, way_out = few([one_line(path)[:SHOWN] for path in others], 1), MAKE_IT
        if others[0] == f"{VALUES}: data":
            way_out = "run `ml ingest`, `dvc add data`, `ml reproduce`, commit all"
        return Lock(False, words=f"dvc.lock is not of this params.yaml, and {first} changes too: {way_out}")
    if elsewhere:
        return Lock(False, words=f"dvc.lock is not of this params.yaml, and this is {elsewhere}: {MAKE_IT}")
    return Lock(
        False, True, "bring the branch up to date, and the judge makes dvc.lock" if changes.behind else ""
    )


def beside(changes: Changes) -> list[str]:
    """What of a change is neither values that train a model, nor dvc.lock, nor a page."""
    found = scope.beyond(changes) + [path for path in changes.paths if path == DATA]
    if not found and VALUES in changes.paths:  # what data/ holds is in data.dvc too
        before, after = (changes.read(files[VALUES]) for files in (changes.before, changes.after))
        found = scope.parts(["data"], before, after)
    return found


def fits(values: bytes, lock: bytes) -> bool:
    """Whether each value that dvc.lock records is that of params.yaml, read as DVC does. UserError where one
    of the two is not YAML."""
    given = read(values)
    return all(_at(given, name) == value for (_, name), value in recorded(read(lock)).items())


def recorded(lock: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """The values of params.yaml that a dvc.lock names, by the stage and the dotted name."""
    stages = _of(lock, "stages")
    return {
        (str(stage), str(name)): value
        for stage in stages
        for name, value in _of(_of(_of(stages, stage), "params"), VALUES).items()
    }


def read(content: bytes) -> dict[str, Any]:
    """A file that DVC reads, as it reads it: 1e-05 is a number. UserError where it is not a mapping."""
    from dvc.utils.serialize import loads_yaml
    from ruamel.yaml.error import YAMLError

    try:
        return dict(scope.typed(content, loads_yaml))
    except (YAMLError, TypeError, ValueError):
        raise UserError("it is not YAML") from None


def between(base: str, head: str) -> Changes:
    """What a commit changes since it left `base`, as the checkout's git has it. UserError where it does not
    have both, or they have nothing in common."""
    if (left := git.merge_base(base, head)) is None:
        raise UserError(
            f"{head[:12]} has nothing in common with {base[:12]}: propose a branch of this repository"
        )
    return Changes(_files(left), _files(head), _blob, left != git.commit(base))


def _files(commit: str) -> Mapping[str, Entry]:
    listed = git.run("ls-tree", "-r", "-z", "--full-tree", commit).split("\0")
    lines = (line.partition("\t") for line in listed if line)
    return {path: Entry(about.split()[0], about.split()[2]) for about, _, path in lines}


def _blob(entry: Entry | None) -> bytes:
    if entry is None or entry.mode != proposals.PLAIN:
        raise UserError("it is not a plain file")
    content = git.tried("cat-file", "blob", entry.sha).ended(".").out
    if len(content) > proposals.BLOB_BYTES:
        raise UserError(f"it is larger than {proposals.BLOB_BYTES:,} bytes")
    return content


def _of(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    """The mapping in a mapping; an empty one where it is none."""
    return found if isinstance(found := mapping.get(key), dict) else {}


def _at(values: Any, key: str) -> Any:
    """A value by its dotted name; NOWHERE where there is none."""
    for name in key.split("."):
        values = values.get(name, NOWHERE) if isinstance(values, dict) else NOWHERE
    return values
