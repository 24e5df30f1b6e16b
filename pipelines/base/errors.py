"""What a user can cause."""

from collections.abc import Sequence


class UserError(Exception):
    """One sentence that names the file, the field and the way out; `ml` prints it and exits with 2."""


class Refused(Exception):
    """A verdict, not a mistake: the reason why a step was refused; `ml` prints it and exits with 4."""


def few(words: Sequence[str], most: int = 3) -> str:
    """The first of them, and how many more there are."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def one_line(text: object, most: int = 200) -> str:
    """A text, which may be a stranger's, as one line of so many printable characters at most."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in str(text)[: 10 * most]).split())
    return shown if len(shown) <= most else shown[: most - 1] + "…"
