"""`ml update`: merge a newer version of the template into a team's copy.

It is made in Git's store, of three trees: the version that the copy is of, the copy, and the newer version.
What is the team's own is the same in all three. Only what is whole is put into the checkout.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipelines.base import git
from pipelines.base.console import aligned
from pipelines.base.errors import UserError, few
from pipelines.base.files import write_text
from pipelines.setup import project, template
from pipelines.setup.template import Version

# Each line as a whole is the template's until the team has changed something of it, then the team's alone.
OWN = (
    ("pipelines/problem", "params.yaml", "data.dvc", "dvc.lock"),
    ("README.md",),
    ("CONTRIBUTING.md",),
    ("LICENSE",),
)
LOCKS = "requirements/"  # compiled, so never merged by hand
SIDES = {"template": "refs/greenlight/the-template", "copy": "refs/greenlight/your-copy"}  # in conflict marks
NOBODY = {
    f"GIT_{role}_{part}": "greenlight" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")
}
KINDS = {"A": "new", "M": "changed", "D": "deleted", "T": "changed"}
WHY = {"123": "both changed it", "12": "you changed it, the template deleted it", "23": "both added it"}
WHY |= {"13": "the template changed it, you deleted it"}

Entries = dict[str, str]  # path → mode and blob, as `git update-index` takes them


@dataclass(frozen=True)
class Merged:
    """What came of a merge: its tree; of each path in conflict the lines of Git's index; and what of the
    template's changes is not taken, because it is the team's own."""

    tree: str
    conflicts: Mapping[str, list[str]]
    kept: list[str]
    locks: bool  # the template's are taken: what the team had added to them is added by `make lock`


def update(source: str = "", to: str = "", since: str = "", plan: bool = False) -> int:
    """Merge version `to` of the template at `source` into what is checked out; with `plan` only say what
    would change. Returns 0, or 3 where conflicts are left, as Git leaves them. UserError, with nothing
    changed, where the checkout has changes, there is no such version, or this is not a copy of it."""
    _require_clean()
    with template.fetched(source or template.address(), to) as version:
        head = git.head()
        base = template.base(version, head, since)
        if git.is_ancestor(version.commit, base):
            print(f"Nothing to do: this copy has {version.words} of the template.")
            return 0
        merged = _merge(base, head, version)
        _tell(base, head, version, merged, plan)
        if not plan:
            put = _leave if merged.conflicts else _commit
            put(head, version, merged)
            _tell_next(merged)
    return 3 if merged.conflicts else 0


def _require_clean() -> None:
    if git.commit("MERGE_HEAD"):
        raise UserError("a merge is under way: end it with `git commit`, or drop it with `git merge --abort`")
    if git.run("rev-parse", "--is-shallow-repository") == "true":
        raise UserError("this clone has a part of the history only: run `git fetch --unshallow` first")
    if changed := git.dirty(untracked=False):
        raise UserError(f"the checkout has changes ({few(changed)}): commit them, or `git stash` them")


def _merge(base: str, head: str, version: Version) -> Merged:
    old, ours, new = (_entries(commit) for commit in (base, head, version.commit))
    own = set(_own(old, ours))
    kept = [
        path
        for path in sorted(old.keys() | new.keys())
        if _within(path, own) and old.get(path) != new.get(path)
    ]
    root = _side({**_without(old, own), **_only(ours, own)})
    refs = {
        SIDES["copy"]: _side(ours, root),
        SIDES["template"]: _side({**_without(new, own), **_only(ours, own)}, root),
    }
    try:
        for name, commit in refs.items():
            git.run("update-ref", name, commit)
        names = [name.removeprefix("refs/") for name in refs]  # as the marks of a conflict show them
        done = git.tried("merge-tree", "--write-tree", "--no-messages", "-z", *names).ended(".", 1)
    finally:
        for name in refs:
            git.run("update-ref", "-d", name)
    tree, *lines = done.text.rstrip("\0").split("\0")
    conflicts: dict[str, list[str]] = {}
    for line in filter(None, lines):
        conflicts.setdefault(line.partition("\t")[2], []).append(line)
    locks = [path for path in conflicts if path.startswith(LOCKS) and path in new]
    if locks:
        tree = _written({**_entries(tree), **{path: new[path] for path in locks}})
    left = {path: lines for path, lines in conflicts.items() if path not in locks}
    return Merged(tree, left, kept, bool(locks))


def _own(old: Entries, ours: Entries) -> Iterator[str]:
    """Paths that are the team's alone: what it has changed of OWN, and the folders that it has deleted."""
    for group in (*OWN, (project.tests(),)):
        before, now = (_only(entries, set(group)) for entries in (old, ours))
        yield from group if before != now else ()
    folders = _folders(ours)
    yield from (folder for folder in _folders(old) if folder not in folders)


def _folders(entries: Entries) -> set[str]:
    return {str(folder) for path in entries for folder in PurePosixPath(path).parents[:-1]}


def _within(path: str, places: set[str]) -> bool:
    return path in places or any(str(folder) in places for folder in PurePosixPath(path).parents)


def _only(entries: Entries, places: set[str]) -> Entries:
    return {path: entry for path, entry in entries.items() if _within(path, places)}


def _without(entries: Entries, places: set[str]) -> Entries:
    return {path: entry for path, entry in entries.items() if not _within(path, places)}


# --- Git's store -------------------------------------------------------------------------------------------


def _entries(tree: str) -> Entries:
    listed = git.run("ls-tree", "-r", "-z", "--full-tree", tree).split("\0")
    found = (line.partition("\t") for line in listed if line)
    return {path: " ".join(about.split()[::2]) for about, _, path in found}


def _written(entries: Entries) -> str:
    """The tree of these, made by an index that nobody else sees."""
    place = git.run("rev-parse", "--git-path", "index.update")
    alone = {"GIT_INDEX_FILE": str(Path(place).absolute())}
    try:
        git.run("read-tree", "--empty", given=alone)
        lines = "".join(f"{entry}\t{path}\0" for path, entry in entries.items())
        git.run("update-index", "-z", "--index-info", given=alone, text=lines)
        return git.run("write-tree", given=alone)
    finally:
        Path(place).unlink(missing_ok=True)


def _side(entries: Entries, parent: str = "") -> str:
    """A commit that is only there to be merged."""
    onto = ("-p", parent) if parent else ()
    return git.run("commit-tree", _written(entries), *onto, "-m", "a side of an update", given=NOBODY)


def _commit(head: str, version: Version, merged: Merged) -> None:
    """A merge commit, whose second parent is the template's; the checkout goes there in one step."""
    parents = ("-p", head, "-p", version.commit)
    made = git.run("commit-tree", merged.tree, *parents, "-m", version.message)
    git.run("merge", "--ff-only", "--quiet", made)  # refused where it would overwrite what git does not know


def _leave(head: str, version: Version, merged: Merged) -> None:
    """A merge that waits: `git commit` ends it, `git merge --abort` drops it, also if we are killed here."""
    names = ("MERGE_MSG", "MERGE_HEAD")  # files: newer versions of git let no update-ref write the second
    message, merging = (Path(git.run("rev-parse", "--git-path", name)) for name in names)
    write_text(message, version.message)
    write_text(merging, f"{version.commit}\n")
    try:
        git.run("read-tree", "-m", "-u", head, merged.tree)  # refused as above
    except git.Failed:
        merging.unlink()
        message.unlink()
        raise
    zero = "0" * len(head)
    stages = [f"0 {zero}\t{path}\0" for path in merged.conflicts]
    stages += [f"{line}\0" for lines in merged.conflicts.values() for line in lines]
    git.run("update-index", "-z", "--index-info", text="".join(stages))


# --- what a person reads -----------------------------------------------------------------------------------


def _tell(base: str, head: str, version: Version, merged: Merged, each: bool) -> None:
    """What changes, `each` file of it or their number; what stays the team's; what is in conflict."""
    commits = git.run("rev-list", "--count", f"{base}..{version.commit}")
    newer = f"{commits} commit{'s' if commits != '1' else ''} since {base[:12]}"
    print(f"{version.words} of the template: {newer}, which this copy is of.")
    listed = git.run("diff-tree", "-r", "-z", "--name-status", "--no-renames", head, merged.tree).split("\0")
    changes = zip(listed[::2], listed[1::2], strict=False)
    told = [(KINDS[kind], path) for kind, path in changes if path not in merged.conflicts]
    count = Counter(kind for kind, _ in told)
    print(f"Files: {', '.join(f'{count[kind]} {kind}' for kind in dict.fromkeys(KINDS.values()))}.")
    if each:
        print("\n".join(f"  {line}" for line in aligned(told)))
    if merged.kept:
        print(f"Yours, and kept although the template changed its own: {few(merged.kept, 6)}.")
    if merged.conflicts:
        stages = {
            path: "".join(line.partition("\t")[0][-1] for line in merged.conflicts[path])
            for path in sorted(merged.conflicts)
        }
        print(f"{len(stages)} in conflict:")
        rows = [(path, WHY.get(those, "one moved what the other changed")) for path, those in stages.items()]
        print("\n".join(f"  {line}" for line in aligned(rows)))


def _tell_next(merged: Merged) -> None:
    if merged.conflicts:
        print(
            "Edit each of them, `git add` it, then `git commit`; `ml lint --fix` writes the lists in\n"
            "dvc.yaml and bentofile.yaml. Or `git merge --abort`: all is as it was."
        )
    lock = "`make lock`, `make .venv/ready`" if merged.locks else "`make .venv/ready`"
    print(
        f"Then: {lock}, `ml lint --fix`, `ml reproduce`, which makes dvc.lock anew, and a commit\n"
        "of what they changed. Merge its pull request by a merge commit: the next update starts there."
    )
