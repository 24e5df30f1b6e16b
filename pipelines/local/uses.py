"""Which remote actions a workflow uses, and the stand-in of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.base.errors import UserError

STAND_INS = Path(__file__).parent / "actions"


@dataclass(frozen=True)
class Use:
    """One `uses:` of a remote action: `OWNER/NAME[/SUB]@REF`, where it is and what it is given."""

    name: str
    ref: str
    file: Path
    line: int
    inputs: tuple[str, ...]

    @property
    def repository(self) -> str:
        return "/".join(self.name.split("/")[:2])

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: uses: {self.name}@{self.ref}"


def stand_ins(root: Path, workflow: Path) -> dict[str, Path]:
    """`OWNER/NAME@REF` → stand-in folder, for each remote action that `workflow` reaches in the tree `root`.

    UserError, naming file and line, for an action without a stand-in and for an input that the stand-in
    does not know: both would otherwise show up in the middle of a run, or not at all."""
    found = {}
    for use in remote_uses(root, workflow):
        folder = STAND_INS / use.repository.replace("/", "-")
        definition = folder.joinpath(*use.name.split("/")[2:], "action.yml")
        if not definition.is_file():
            missing = f"pipelines/local/actions/{definition.relative_to(STAND_INS)}"
            raise UserError(f"{use} has no stand-in here; write {missing}, or use an action that has one")
        known = yaml.safe_load(definition.read_text()).get("inputs", {})
        if strange := [name for name in use.inputs if name not in known]:
            sets = f"{use} sets the input {strange[0]!r}"
            raise UserError(f"{sets}, which its stand-in {definition} does not know")
        found[f"{use.repository}@{use.ref}"] = folder
    return found


def remote_uses(root: Path, workflow: Path) -> Iterator[Use]:
    """The remote actions of a workflow file and of the local actions that it uses, at any depth."""
    seen, waiting = set(), [workflow]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        shown = file.relative_to(root) if file.is_relative_to(root) else file
        try:
            whole = yaml.compose(file.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise UserError(f"{file} is not valid YAML ({' '.join(str(error).split())})") from None
        for node, given in uses_of(whole):
            value, line = node.value, node.start_mark.line + 1
            if value.startswith("./"):
                files = (root / value, root / value / "action.yml", root / value / "action.yaml")
                if not (found := [one for one in files if one.is_file()]):
                    raise UserError(f"{shown}, line {line}: uses: {value} names no action in this repository")
                waiting.append(found[0])
            elif "@" in value and not value.startswith("docker://"):
                name, _, ref = value.partition("@")
                yield Use(name, ref, shown, line, given)
            else:
                way_out = "name OWNER/NAME@SHA or ./FOLDER"
                raise UserError(f"{shown}, line {line}: uses: {value} cannot run here; {way_out}")


def uses_of(node: Any) -> Iterator[tuple[yaml.ScalarNode, tuple[str, ...]]]:
    """Each `uses` value below a YAML node, with the names in the `with` beside it."""
    if isinstance(node, yaml.MappingNode):
        fields = {key.value: value for key, value in node.value}
        if isinstance(uses := fields.get("uses"), yaml.ScalarNode):
            given = fields.get("with")
            names = [key.value for key, _ in given.value] if isinstance(given, yaml.MappingNode) else []
            yield uses, tuple(names)
        for value in fields.values():
            yield from uses_of(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from uses_of(value)
