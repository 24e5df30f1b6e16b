"""`ml`: every verb of the template. A verb's module is imported when that verb runs."""

import sys
import traceback

import typer

from pipelines.base import console, loopback
from pipelines.base.errors import Refused, UserError
from pipelines.base.signals import Interrupted
from pipelines.cli import delivery, local, monitoring, pipeline, review

app = typer.Typer(
    name="ml",
    help="Propose, judge, release, deploy and watch a model. Start with `make demo`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for room in (pipeline, review, delivery, monitoring, local):
    app.add_typer(room.verbs)


def main() -> None:
    """Run `ml`: 0 done or PASS, 2 the user's mistake, 3 INCONCLUSIVE or waiting, 4 FAIL or refused, 130 and
    143 after a signal; anything else is a bug.
    """
    loopback.spare()
    with console.guarded():
        try:
            app()
        except Interrupted as signal:
            sys.exit(signal.exit_code)
        except (UserError, Refused) as error:
            print(f"ml: {error}", file=sys.stderr)
            sys.exit(2 if isinstance(error, UserError) else 4)
        except Exception as error:
            from pipelines.core.room import mistake

            if (said := mistake(error)) is None:
                traceback.print_exc()  # here, where what it says is harmless
                sys.exit(1)
            print(f"ml: {said}", file=sys.stderr)
            sys.exit(2)
