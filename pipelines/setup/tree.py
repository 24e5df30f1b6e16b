"""What of the setup is in the repository's own files: owners, the branch that workflows start on, the model's
name. They bind once they are on the default branch, so each says whether they are."""

import ast
import re
from pathlib import Path

import yaml

from pipelines.base import git
from pipelines.base.errors import UserError
from pipelines.base.files import write_text
from pipelines.base.github import GitHub
from pipelines.setup.environments import person
from pipelines.setup.setting import REPOSITORY, Found, Setting

OWNERS, WORKFLOWS = Path(".github/CODEOWNERS"), Path(".github/workflows")
PLACEHOLDER = "@OWNER/MAINTAINERS"
COLUMNS = Path("pipelines/problem/columns.py")
OWNER = re.compile(r"@[\w.-]+(/[\w.-]+)?")


def settings(hub: GitHub, checkout: Path, branch: str, owners: tuple[str, ...], model: str) -> list[Setting]:
    return [
        Setting("code owners", lambda: code_owners(hub, checkout, branch, owners), group=REPOSITORY),
        Setting("workflows' branch", lambda: started_on(checkout, branch), group=REPOSITORY),
        Setting("model's name", lambda: named(checkout, model), group=REPOSITORY),
    ]


# --- code owners ------------------------------------------------------------------------------------------


def code_owners(hub: GitHub, checkout: Path, branch: str, wanted: tuple[str, ...]) -> Found:
    """Whether CODEOWNERS names people who may write: GitHub ignores a line whose owner it does not know."""
    text = read(checkout / OWNERS)
    has = owners_of(text)
    if not wanted and PLACEHOLDER in has:
        way_out = "ml init --owners @NAME"
        return Found(False, "names nobody yet, so nobody is asked for code", way_out=way_out)
    for name in wanted or has:
        if not OWNER.fullmatch(name):
            raise UserError(f"{OWNERS}: {name!r} is not @NAME or @ORGANIZATION/TEAM")
        if not person(hub, name)[1]:
            raise UserError(f"{name} may not write to {hub.repository}, so GitHub ignores them in {OWNERS}")
    if not wanted or wanted == has:
        return on_branch(checkout, OWNERS, branch, ", ".join(has))
    new = re.sub(rf"(?m)(?<=\s){re.escape(' '.join(has))}(?=\s*$)", " ".join(wanted), text)
    return Found(
        False,
        ", ".join(has),
        f"name {', '.join(wanted)}",
        lambda: write_text(checkout / OWNERS, new),
    )


def owners_of(text: str) -> tuple[str, ...]:
    """Who owns what no other line of a CODEOWNERS names."""
    for line in text.splitlines():
        if line.split()[:1] == ["*"]:
            return tuple(line.partition("#")[0].split()[1:])
    raise UserError(f"{OWNERS} has no line `*`, so new files are nobody's: add `* @NAME`")


# --- the branch that workflows start on -------------------------------------------------------------------


def started_on(checkout: Path, branch: str) -> Found:
    """Whether pushes to the default branch start what shall start then. Its name is written out, because no
    trigger may compute it: a job that a condition skips would count as a passed check."""
    wrong = {file: text for file, text in rewritten(checkout, branch)}
    if not wrong:
        files = [file for file in sorted((checkout / WORKFLOWS).glob("*.yml")) if pushed(read(file))]
        behind = [
            one for file in files if not (one := on_branch(checkout, WORKFLOWS / file.name, branch, "")).right
        ]
        return behind[0] if behind else Found(True, branch)

    def change() -> None:
        for file, text in wrong.items():
            write_text(file, text)

    names = ", ".join(file.name for file in wrong)
    return Found(False, f"{names} do not start on a push to {branch}", f"write {branch} into {names}", change)


def rewritten(checkout: Path, branch: str) -> list[tuple[Path, str]]:
    """The workflow files that start on a push to another branch alone, as they must be."""
    found = []
    for file in sorted((checkout / WORKFLOWS).glob("*.yml")):
        text = read(file)
        node = pushed(text)
        if node and branch not in [one.value for one in node.value]:
            start, end = node.start_mark.index, node.end_mark.index
            found.append((file, f"{text[:start]}[{branch}]{text[end:]}"))
    return found


def pushed(text: str) -> yaml.SequenceNode | None:
    """The branches, one by name, whose pushes start a workflow; None where it does not say it so."""
    node = yaml.compose(text)
    for name in ("on", "push", "branches"):
        node = (
            next((v for k, v in node.value if k.value == name), None)
            if isinstance(node, yaml.MappingNode)
            else None
        )
    return node if isinstance(node, yaml.SequenceNode) and len(node.value) == 1 else None


# --- the model's name -------------------------------------------------------------------------------------


def named(checkout: Path, wanted: str) -> Found:
    """The name in the room's contract, which releases, metrics and MLflow carry."""
    file = checkout / COLUMNS
    text = read(file)
    found = [
        keyword.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Contract"
        for keyword in node.keywords
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
    ]
    if len(found) != 1:
        says = f"{COLUMNS} does not say it as a plain text"
        return Found(not wanted or None, says, way_out=f"write it there, by hand: {wanted}", matters=False)
    has = str(found[0].value)
    if not wanted or wanted == has:
        return Found(True, has)
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", wanted):
        raise UserError(f"--model {wanted!r} is not small letters, digits and `-`, at most 63 of them")
    node = found[0]
    lines = text.splitlines(keepends=True)
    line = lines[node.lineno - 1].encode()
    assert node.end_col_offset is not None
    lines[node.lineno - 1] = (
        line[: node.col_offset] + f'"{wanted}"'.encode() + line[node.end_col_offset :]
    ).decode()
    would = f"write {wanted} into {COLUMNS} (then `ml reproduce`)"
    return Found(False, has, would, lambda: write_text(file, "".join(lines)))


# --- files ------------------------------------------------------------------------------------------------


def on_branch(checkout: Path, file: Path, branch: str, says: str) -> Found:
    """Whether a file that is right here is so on origin's branch, as it was last fetched."""
    there = f"refs/remotes/origin/{branch}"
    if (
        git.commit(there, checkout) is None
        or git.blob(there, str(file), checkout) == (checkout / file).read_bytes()
    ):
        return Found(True, says)
    where = f"right here, but not yet on {branch}"
    way_out = f"commit {file}, bring it to {branch}, then `git fetch`"
    if str(file) in git.dirty(checkout):
        way_out = "see `files in .github/`"  # which brings it there, where it may
    return Found(False, f"{says} ({where})" if says else where, way_out=way_out)


def read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read ({error}): take it as the template has it") from None
