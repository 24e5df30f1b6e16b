"""What a change touches: a model or a release; and what of it waits for a maintainer's word."""

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any

import yaml

from pipelines.base import git, recorded
from pipelines.base.console import output, summary
from pipelines.base.errors import UserError
from pipelines.core import params
from pipelines.pulls import proposals
from pipelines.pulls.proposals import Changes, Entry

# What cannot change a model or a release. Everything else may, so an unknown path means: look closely.
HARMLESS = ("docs/", "tests/", "benchmarks/", ".github/", ".ci/", "LICENSE", ".gitignore")

# What a proposal may change with the gate's word alone: values that the base's code reads, bytes that the
# gate has seen, and what no program reads. Whatever is not here waits for a maintainer.
VALUES = "params.yaml"
WITHHELD = ("decision", "gate", "rollout", "drift", "serving")  # its parts that use, judge or move a model
LOCKS = ("dvc.lock", "data.dvc")
PAGES = (".md", ".png", ".jpg", ".svg", ".gif")  # below docs/
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "SECURITY.md", "LICENSE")


def run(base: str, head: str) -> None:
    """`ml ci scope`: does `base`...`head` change what makes a model or a release? Writes `model` to the
    step's outputs and, where it is true, `commit`, the newest one on the way to `head` that does.
    A base that Git does not know, such as the forty zeros of a first push, means yes; so does `head` itself:
    somebody runs again what did not end well."""
    paths = changed(base, head)
    model = paths is None or changes_model(paths) or base == head
    output("model", str(model).lower())
    if model:
        print("Something that makes a model or a release changed.")
        # of what its branch had one by one; a merge is one: what it brought to the branch
        commits = map(str.split, git.run("rev-list", "--first-parent", "--parents", head).splitlines())
        found = (commit for commit, *on in commits if not on or changes_model(git.changes(on[0], commit)))
        output("commit", next(found))
    else:
        sentence = "No model changed: only documentation, tests or workflows did, so nothing is built."
        print(sentence)
        summary(sentence)


def changes_model(paths: Iterable[str]) -> bool:
    """Whether one of the paths is not known to be harmless."""
    return any(not path.endswith(".md") and not within(path, HARMLESS) for path in paths)


def beyond(changes: Changes) -> list[str]:
    """What of a change is not on the allow-list, and so waits for a maintainer's word."""
    found = []
    for path in changes.paths:
        before, after = changes.before.get(path), changes.after.get(path)
        if path == VALUES:
            found += withheld(changes, before, after)
        elif path in LOCKS:
            found += [] if relocked(changes, before, after) else [path]
        elif not (plain(before) and plain(after) and is_document(path)):
            found.append(path)
    return found


def withheld(changes: Changes, before: Entry | None, after: Entry | None) -> list[str]:
    """The parts of params.yaml that differ and wait; all of it where either file is not a typed one."""
    try:
        return parts(WITHHELD, changes.read(before), changes.read(after))
    except UserError:
        return [VALUES]


def parts(among: Iterable[str], before: bytes, after: bytes) -> list[str]:
    """Those parts of params.yaml that differ. UserError where either file is not a typed one."""
    here, there = (params.parse(typed(content)) for content in (before, after))
    return [f"{VALUES}: {part}" for part in among if getattr(here, part) != getattr(there, part)]


def relocked(changes: Changes, before: Entry | None, after: Entry | None) -> bool:
    """Whether a lock differs only in what each training writes anew: hashes, sizes and values of params.yaml.
    DVC and `ml` fetch, copy and delete what a lock names: another path, stage, source or name of an object
    waits for a maintainer."""
    try:
        return alike(changes.read(before), changes.read(after))
    except UserError:
        return False


def alike(before: bytes, after: bytes) -> bool:
    """As `relocked`, of the files' bytes. UserError where one is not YAML."""
    here, there = (_form(typed(content)) for content in (before, after))
    return isinstance(here, dict) and bool(here == there)


def is_document(path: str) -> bool:
    """A page for people. A `.md` elsewhere may be read by code, or steer it."""
    return path in TOP or (path.startswith("docs/") and PurePosixPath(path).suffix in PAGES)


def plain(entry: Entry | None) -> bool:
    """Whether it is a file as others, or none: no link, no submodule, nothing executable."""
    return entry is None or entry.mode == proposals.PLAIN


def typed(content: bytes, load: Callable[[str], Any] = yaml.safe_load) -> Any:
    """What YAML says. UserError for aliases too: a few lines of them can stand for gigabytes."""
    try:
        text = content.decode("utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise UserError("it has aliases")
        return load(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        raise UserError("it is not YAML") from None


def _form(value: Any, key: Any = None) -> Any:
    """A lock with a word in place of what may differ."""
    if isinstance(value, dict):
        return VALUES if key == VALUES else {name: _form(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_form(inner) for inner in value]
    hashed = key == "md5" and recorded.why_no_object(value) is None
    counted = key in ("size", "nfiles") and type(value) is int
    return key if hashed or counted else value


def within(path: str, places: tuple[str, ...]) -> bool:
    return any(path.startswith(place) if place.endswith("/") else path == place for place in places)


def changed(base: str, head: str) -> list[str] | None:
    """Paths that `head` changes since it left `base`, moved files twice; None without such a base."""
    if git.commit(base) is None or (left := git.merge_base(base, head)) is None:
        return None
    return git.changes(left, head)
