"""How `ml` shows its verbs: under the heading of their work, each with an example."""

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class Verbs(typer.Typer):
    """The verbs of one kind of work: their heading in `ml --help`, where they do not stand in a group."""

    def __init__(self, heading: str = "Commands", **settings: Any) -> None:
        # Without rich, whose import takes longer than all the rest of `ml --help`.
        super().__init__(cls=_Group, no_args_is_help=True, rich_markup_mode=None, **settings)
        self.heading = heading

    def command(self, name: str | None = None, *, example: str, **settings: Any) -> Callable[[Any], Any]:  # type: ignore[override]
        """A verb. `example`: a call of it, or two, a line each."""
        return super().command(name, cls=_Command, epilog=example, rich_help_panel=self.heading, **settings)


class _Command(TyperCommand):
    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Example"):
            for line in (self.epilog or "").splitlines():
                formatter.write(f"  {line}\n")


class _Group(TyperGroup):
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, self.commands))
        rows: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            heading = getattr(command, "rich_help_panel", None) or "Commands"
            rows.setdefault(heading, []).append((name.ljust(width), command.get_short_help_str(limit=200)))
        for heading, those in rows.items():
            with formatter.section(heading):
                formatter.write_dl(those)
