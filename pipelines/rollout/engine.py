"""The steps of a rollout, run: held, paused, undone and gone on with. Any failure brings traffic back."""

from dataclasses import asdict
from typing import Any

from pipelines.base.console import step as say
from pipelines.base.errors import Refused, UserError
from pipelines.base.signals import Interrupted, finishing
from pipelines.base.waiting import until
from pipelines.host.slots import process
from pipelines.registry import mirror as registry
from pipelines.rollout.context import Context, Held, Step
from pipelines.rollout.steps import STEPS

HELD, REFUSED = 3, 4
RECOVERS_SECONDS = 10.0  # that the previous slot gets to be healthy again, where traffic is to return to it


class Rollout(Context):
    """One move under way, run."""

    def run(self, pause_before: str | None = None) -> int:
        """The story of a move. Any failure brings traffic back, whatever the step."""
        say(f"{self.host.environment}: {self.release[:12]} goes to {self.slot}, {self.begins()}")
        # after the bake there is no way back, and only the last one is to be done
        ahead = STEPS[-1:] if "BAKE" in self.done else STEPS
        step = STEPS[0]
        try:
            for step in [step for step in ahead if not (step.once and step.name in self.done)]:
                if step.name == pause_before:
                    return self._pause(step)
                self._do(step)
        except Held as reason:
            self.journal.write(self.id, "hold", step=step.name, reason=str(reason))
            say(f"{self.host.environment}: {step.name} waits: {reason}; run the same again to go on")
            return HELD
        except Interrupted as signal:
            with finishing():
                step.undo(self)
                self.journal.write(self.id, "interrupted", step=step.name, by=str(signal))
            say(f"{self.host.environment}: {step.name} was undone after {signal}; {self.edge.traffic}")
            raise
        except (Refused, UserError, OSError) as error:
            return self.turn_back(str(error))
        except Exception as error:
            self.turn_back(f"a bug, {error!r}")
            raise
        return self._complete()

    def turn_back(self, reason: str, refused: bool = True) -> int:
        """Undo the steps, the last one first; traffic stays or returns where it was. Returns 4.

        Refused once the bake is over: the old slot may be gone, so the next run can only go forward."""
        where = self.host.environment
        if "BAKE" in self.done:
            raise Refused(f"{self.release[:12]} has the traffic of {where}, but {reason}: run the same again")
        say(f"{where}: {self.release[:12]} is {'refused' if refused else 'turned back'}: {reason}")
        words = process.last_words(self.host.slot(self.slot))
        full = None if self.failing else self._note("turn-back", reason=reason)
        if self._can_return():
            for step in reversed(STEPS):
                with finishing():
                    step.undo(self)
            old = self.origin
            to = f"is with {old.release[:12]} on {old.slot}" if old else "goes nowhere"
        else:  # the edge has both to choose from
            to = f"stays as it is, because {self.origin and self.origin.slot} is not healthy either"
        full = self._note("end", result="failed", reason=reason) or full
        if words and refused:
            say(f"the last lines of slot {self.slot}:\n{words}")
        say(f"{where}: traffic {to}")
        if full:
            raise full
        return REFUSED

    def make_way(self, reason: str) -> int:
        """End a move that was left half-way, because another one is to begin."""
        if "BAKE" in self.done:
            self._do(STEPS[-1])
            return self._complete()
        return self.turn_back(self.failing or f"left half-way, and {reason}", bool(self.failing))

    def begins(self) -> str:
        """Where traffic is before the move, in words."""
        if self.origin is None:
            return "the first release here"
        if "FLIP" in self.done:
            return "which has the traffic already"
        return f"{self.origin.release[:12]} on {self.origin.slot} keeps the traffic until then"

    def _do(self, step: Step) -> None:
        if reason := step.skip(self):
            self.journal.write(self.id, "fact", step=step.name, skipped=reason)
        else:
            self.journal.write(self.id, "intent", step=step.name)
            self.journal.write(self.id, "fact", step=step.name, **step.do(self))
        self.done.add(step.name)

    def _complete(self) -> int:
        counted = self.edge.counters(self.slot)
        self.journal.write(self.id, "end", result="completed", counted=asdict(counted))
        say(f"{self.host.environment}: {self.release[:12]} is live on {self.slot} at {self.edge.model_url}")
        if self.host.environment == "production":
            registry.champion(self.host.model, self.releases.get(self.release))
        return 0

    def _pause(self, step: Step) -> int:
        self.journal.write(self.id, "pause", step=step.name)
        where = self.host.environment
        say(f"{where}: paused before {step.name}; `ml deploy --env {where}` goes on")
        if "PREPARE" in self.done:
            at = self.edge.preview(self.slot) if self.origin else self.url
            print(f"preview of {self.slot}: {at}/predict")
        return HELD

    def _note(self, event: str, **details: Any) -> OSError | None:
        """Journal it, or return why that failed: a full disk must not keep traffic from returning."""
        try:
            self.journal.write(self.id, event, **details)
        except OSError as error:
            return error
        return None

    def _can_return(self) -> bool:
        """Whether the slot of before can have the traffic. One that only stalls gets some time for it; one
        that hangs is ended, and started again by the supervisor."""
        route = self.edge.route()
        if self.origin is None or route is None or route.slot == self.origin.slot:
            return True
        old = self.origin.slot
        if until(lambda: self.edge.healthy(old), RECOVERS_SECONDS, 0.1):
            return True
        say(f"{old} is not healthy either: starting it again")
        process.restart(self.host.slot(old))
        return until(lambda: self.edge.healthy(old), self.limits.healthy_within, 0.1)
