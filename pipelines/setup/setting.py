"""One thing that must be so: it is looked at, and where it is not right there is what makes it right.

`ml init` looks and changes; a check only looks.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.base.github import Declined
from pipelines.setup.check import Check, State
from pipelines.setup.refusals import PLANS, by_plan, reason

GITHUB, REPOSITORY = "GitHub", "repository"
INIT = "ml init"


@dataclass(frozen=True)
class Found:
    """What there is of one thing. `right`: None where it cannot be seen. Where it is not right, `would` says
    what `change` does; without a `change` it is for people, and `way_out` says what."""

    right: bool | None
    says: str
    would: str = ""
    change: Callable[[], object] | None = None
    way_out: str = INIT
    matters: bool = True


@dataclass(frozen=True)
class Setting:
    """`means`: what follows where GitHub's plan does not offer it. `after`: what is set before it."""

    what: str
    look: Callable[[], Found]
    means: str = ""
    after: tuple[str, ...] = ()
    group: str = GITHUB

    def check(self) -> Check:
        """What is found, as a line of a table."""
        try:
            found = self.look()
        except Declined as error:
            if by_plan(error):
                return Check(self.group, self.what, State.OFF, self.means, PLANS)
            return Check(self.group, self.what, State.UNKNOWN, reason(error))
        state = {True: State.ON, False: State.OFF, None: State.UNKNOWN}[found.right]
        way_out = "" if found.right else found.way_out
        return Check(self.group, self.what, state, found.says, way_out, found.matters)
