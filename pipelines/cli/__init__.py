"""`ml`: every verb of the template. A verb's module is imported when that verb runs."""

import sys
import traceback

from pipelines.base import console, loopback
from pipelines.base.errors import Refused, UserError
from pipelines.base.signals import Interrupted
from pipelines.cli import ci, delivery, infra, local, monitoring, pipeline, review, setup, stage, store
from pipelines.cli.groups import Verbs

app = Verbs(
    name="ml",
    help="Propose, judge, release, deploy and watch a model. Start with `make demo`.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for work in (pipeline, review, delivery, monitoring, setup, local):
    app.add_typer(work.verbs)
app.add_typer(store.verbs, name="store", rich_help_panel="Groups")
app.add_typer(infra.verbs, name="infra", rich_help_panel="Groups")
app.add_typer(stage.verbs, name="stage", rich_help_panel="Groups")
app.add_typer(ci.verbs, name="ci", rich_help_panel="Groups")


def main() -> None:
    """Run `ml`: 0 done or PASS, 2 the user's mistake, 3 INCONCLUSIVE or waiting, 4 FAIL or refused, 130 and
    143 after a signal; anything else is a bug."""
    loopback.spare()
    with console.through(console.Harmless):  # what is printed may name what a proposal brought
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
