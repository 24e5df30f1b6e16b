"""`ml lint`: the lists of files that the imports know better, held against them.

They say of which code a DVC stage is made (dvc.yaml), the Bento (bentofile.yaml), and the judge, whose code
waits for a maintainer (pulls/scope.py, CODEOWNERS). A file that a list forgets is a model that is not made
anew, a service that does not start, a judge that a proposal may change.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.base import git
from pipelines.base.errors import UserError
from pipelines.base.files import write_text
from pipelines.local import imports, rules
from pipelines.pulls import scope
from pipelines.pulls.runs import JUDGE
from pipelines.release.commit import read

STAGES, BENTO = "dvc.yaml", "bentofile.yaml"
SCOPE = "pipelines/pulls/scope.py"

# What imports cannot tell, in one place. Each stage runs with these packages:
PACKAGES = "requirements/train.txt"
# These change no file that a stage leaves: what a run prints, and where it is logged. Nor does cli/
# (imports.of_verb), nor an `__init__.py` without code (imports.of_module).
SILENT = frozenset(f"pipelines/{file}.py" for file in ("base/console", "base/errors", "training/tracking"))
# Data that code reads, such as report/rates.json and models/, and params are listed by hand; so is all that a
# stage needs whose command starts no Python of ours.


def run(root: Path = Path(), fix: bool = False) -> int:
    """`ml lint`: a sentence for each difference; `fix` writes the lists first. Returns 0 for none, else 2."""
    if fix:
        for listed in (*stages(root), bento(root)):
            write(root, listed)
    found = differences(root)
    print("\n".join(found) or f"{STAGES}, {BENTO} and what guards the judge agree with the imports")
    return 2 if found else 0


def differences(root: Path) -> list[str]:
    """A sentence for each."""
    lists = [*stages(root), bento(root)]
    wrong = [sentence for listed in lists for sentence in listed.sentences()]
    made_of = {file for listed in lists for file in listed.wanted if not scope.changes_model([file])}
    if used := _some(made_of):
        wrong.append(f"{SCOPE}: HARMLESS covers {used}, of which a model or a release is made: take it out")
    return wrong + list(guards(root, judge(root)))


@dataclass(frozen=True)
class Listed:
    """A list of files in a YAML file, and the code that it should name."""

    file: str
    path: tuple[str, ...]
    entries: dict[str, frozenset[str]]  # each with the code that it names
    wanted: dict[str, str]  # each file with a clause that says why
    reader: str
    then: str = ""  # what is to be done after the list is right

    @property
    def where(self) -> str:
        return f"{self.file}: {'.'.join(self.path)}"

    @property
    def surplus(self) -> list[str]:
        return [entry for entry, code in self.entries.items() if code - self.wanted.keys()]

    @property
    def missing(self) -> list[str]:
        kept = (code for entry, code in self.entries.items() if entry not in self.surplus)
        return sorted(self.wanted.keys() - frozenset().union(*kept))

    def sentences(self) -> Iterator[str]:
        way_out = "run `ml lint --fix`" + (f", then {self.then}" if self.then else "")
        for file in self.missing:
            yield f"{self.where} lacks {file}, {self.wanted[file]}: {way_out}"
        for entry in self.surplus:
            file = min(self.entries[entry] - self.wanted.keys())
            what = entry if entry == file else f"{entry}, and with it {file}"
            yield f"{self.where} has {what}, which {self.reader} does not import: {way_out}"


def stages(root: Path) -> list[Listed]:
    """The dependencies of each stage of dvc.yaml."""
    found = []
    for name, stage in read(root, STAGES, "stages", dict).items():
        inner, path = (stage["do"], ("do", "deps")) if "do" in (stage or {}) else (stage, ("deps",))
        if not isinstance(inner, dict) or "cmd" not in inner:
            raise UserError(f"{STAGES}: stages.{name} has no cmd: write which command it runs")
        commands = inner["cmd"] if isinstance(inner["cmd"], list) else [inner["cmd"]]
        starts = {file: f"which `{cmd}` imports" for cmd in commands for file in _started(root, name, cmd)}
        if not starts:
            continue
        wanted = {PACKAGES: "which it runs with"} | imports.read(root, starts, SILENT)
        entries = {
            str(dep): frozenset({str(dep)} if str(dep) in wanted or imports.FILE.fullmatch(str(dep)) else ())
            for dep in inner.get("deps") or ()
        }
        reader, then = f"`{' && '.join(commands)}`", "run `ml reproduce` and commit dvc.lock"
        found.append(Listed(STAGES, ("stages", name, *path), entries, wanted, reader, then))
    return found


def bento(root: Path) -> Listed:
    """The code of bentofile.yaml: what the service imports, and all its packages' own files."""
    module = read(root, BENTO, "service", str).partition(":")[0]
    starts = imports.of_module(root, module)
    if f"{module.replace('.', '/')}.py" not in starts:
        raise UserError(f"{BENTO}: service names {module}, which is not a module here: correct it")
    wanted = imports.read(root, dict.fromkeys(starts, "which holds the service"))
    own = {f"{folder}/__init__.py" for file in wanted for folder in Path(file).parents[:-1]} - wanted.keys()
    wanted |= {file: "which makes its folder a package" for file in own if (root / file).is_file()}
    entries = {}
    for pattern in read(root, BENTO, "include", list):
        try:
            files = {path.relative_to(root).as_posix() for path in root.glob(pattern)} or {pattern}
        except (TypeError, ValueError, NotImplementedError):
            raise UserError(f"{BENTO}: include has {pattern!r}: name files of this repository") from None
        entries[pattern] = frozenset(file for file in files if file.endswith(".py"))
    return Listed(BENTO, ("include",), entries, wanted, "the service")


def write(root: Path, listed: Listed) -> None:
    """Add what a list lacks and take out what it has too much; every other line stays as it is. UserError
    where the list does not have an entry a line.

    By lines: ruamel.yaml drops a comment above an entry together with the entry before it."""
    if not listed.missing and not listed.surplus:
        return
    text = (root / listed.file).read_text(encoding="utf-8")
    key: Any = None
    node: Any = yaml.compose(text)
    for name in listed.path:
        key, node = next((pair for pair in node.value if pair[0].value == name), (None, None))
        if node is None or not node.value or node.flow_style:
            raise UserError(f"{listed.where} is not a list of lines `- FILE`: write one of them by hand")
    lines = text.splitlines(keepends=True)
    items = [(item.value, item.start_mark.line) for item in node.value]
    dash = lines[items[0][1]][: node.value[0].start_mark.column]
    for entry, line in items:
        if entry in listed.surplus:
            lines[line] = ""
    # The last first: so no line moves that is still to be counted. Right after the name before it: a comment
    # above an entry stays with it.
    for file in reversed(listed.missing):
        before = max((line for entry, line in items if entry < file), default=key.start_mark.line)
        lines.insert(before + 1, f"{dash}{file}\n")
    write_text(root / listed.file, "".join(lines))
    done = [*(f"added {file}" for file in listed.missing), *(f"removed {entry}" for entry in listed.surplus)]
    print(f"{listed.where}: {', '.join(done)}" + (f"; now {listed.then}" if listed.then else ""))


def _started(root: Path, stage: str, command: str) -> Iterable[str]:
    """The code that a stage's command starts: a verb's, else that of the modules and files that it names."""
    first, *words = command.split()
    if first == "ml":
        return _verb(root, f"{STAGES}: stages.{stage}.cmd", words)
    modules = [word for word in words if imports.MODULE.fullmatch(word)]
    files = [word for word in words if word.endswith(".py") and (root / word).is_file()]
    return [*files, *(file for module in modules for file in imports.of_module(root, module))]


def _verb(root: Path, where: str, words: list[str]) -> set[str]:
    if (found := imports.of_verb(root, words)) is None:
        raise UserError(f"{where} runs `ml {' '.join(words)}`, and `ml --help` has no such verb: correct it")
    return found


def judge(root: Path) -> set[str]:
    """The judge's own files: its workflow, the actions of ours that it uses, and the code of its verbs."""
    found = {JUDGE} | {f"{imports.CLI}/{path.name}" for path in (root / imports.CLI).glob("*.py")}
    starts = imports.of_function(root, f"{imports.CLI}/__init__.py", "main")
    for step in (step for job in read(root, JUDGE, "jobs", dict).values() for step in job.get("steps", ())):
        if (action := step.get("uses", "")).startswith("./"):
            found.add(f"{action.removeprefix('./')}/action.yml")
        for words in re.findall(r"^\s*ml (.+)$", step.get("run", ""), re.MULTILINE):
            starts |= _verb(root, JUDGE, words.split())
    return found | imports.read(root, dict.fromkeys(starts, "")).keys()


def guards(root: Path, judge: set[str]) -> Iterator[str]:
    """Where pulls/scope.py and CODEOWNERS let a file of the judge through, or do not say the same: what the
    gate does not decide waits for an owner."""
    place = next((place for place in rules.OWNERS if (root / place).is_file()), rules.OWNERS[0])
    text = (root / place).read_text(encoding="utf-8") if (root / place).is_file() else ""
    known = {*git.run("ls-files", "-z", at=root).split("\0")} - {""}
    free = {scope.VALUES, *scope.LOCKS, *scope.TOP, *(file for file in known if scope.is_document(file))}
    owned = {file for file in known | free | judge if rules.owners(text, [file])}
    if files := _some(judge & free):
        yield f"{SCOPE} lets {files} pass on the gate's word, and the judge is made of it: take it out there"
    if files := _some(judge - free - owned):
        yield f"{place} has no owner for {files}, and the judge is made of it: add the line `* @OWNER`"
    if files := _some(known - judge - free - owned):
        yield f"{place} has no owner for {files}, and {SCOPE} makes it wait for a maintainer: add an owner"
    if files := _some(free & owned):
        yield f"{place} has an owner for {files}, and {SCOPE} lets it pass: add a line of it without an owner"


def _some(files: Iterable[str]) -> str:
    """The first of some files, and how many more there are; empty for none."""
    first, *more = sorted(files) or [""]
    return f"{first} (and {len(more)} more)" if more else first
