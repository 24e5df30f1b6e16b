"""CODEOWNERS, as GitHub reads it: whose approval a change of a file waits for."""

import re
from collections.abc import Iterable
from itertools import takewhile

PLACES = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")  # the first that there is
LARGEST_BYTES = 3 * 2**20  # a larger file is not loaded


def asked(text: str, paths: Iterable[str]) -> list[tuple[str, ...]]:
    """The owners of each path that has any, each set once: one of each set must approve."""
    lines = [line for line in map(_line, text.splitlines()) if line is not None]
    found: dict[tuple[str, ...], None] = {}
    for path in paths:
        fitting = [owners for pattern, owners in lines if pattern.fullmatch(path)]
        if fitting and fitting[-1]:  # the last line counts, also one that names nobody
            found[fitting[-1]] = None
    return list(found)


def _line(line: str) -> tuple[re.Pattern[str], tuple[str, ...]] | None:
    """A line's pattern and its owners, without the @; None for a comment and for what GitHub passes over."""
    words = list(takewhile(lambda word: not word.startswith("#"), line.split()))
    if not words or words[0].startswith(("!", "\\#")) or "[" in words[0]:
        return None
    return _pattern(words[0]), tuple(word.removeprefix("@") for word in words[1:])


def _pattern(glob: str) -> re.Pattern[str]:
    """As in a .gitignore, but that `FOLDER/*` is not a file further down."""
    anchored = "/" in glob.rstrip("/")
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob.strip("/"))
    kinds = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    inner = "".join(kinds.get(part, re.escape(part)) for part in parts)
    below = "/.*" if glob.endswith("/") else "" if glob.endswith("/*") else "(?:/.*)?"
    return re.compile(("" if anchored else "(?:.*/)?") + inner + below)
