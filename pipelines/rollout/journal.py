"""What a rollout did, line by line and fsynced, so that the next run can go on."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.base.errors import UserError

COLUMNS, HISTOGRAMS = ("at", "move", "event", "step"), ("start", "counted")  # of a line


class Journal:
    """JSON lines in one file: a move's `begin` and `end`, between them an intent and a fact of each step, and
    each `hold`, `pause`, `interrupted` and `turn-back`. The next run goes on from it; it is the audit record.
    """

    def __init__(self, place: Path) -> None:
        """Of what is a model's own on a host (`Host.place`)."""
        self.path = place / "journal.jsonl"

    def write(self, move: str, event: str, **details: Any) -> None:
        """Append one line and have it on the disk before returning."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"at": at, "move": move, "event": event, **details}, ensure_ascii=False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)  # what a kill left of a line goes
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[dict[str, Any]]:
        """All whole lines, oldest first. UserError where a line that is not the last one is damaged."""
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")[:-1]  # what follows the last newline was cut by a kill
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise UserError(f"{self.path} is damaged ({error}): correct or remove that line") from None

    def moves(self) -> list["Move"]:
        """Every move, oldest first."""
        moves: dict[str, Move] = {}
        for line in self.read():
            if line["event"] == "begin":
                about = (line[name] for name in ("move", "release", "slot", "from", "why", "at"))
                moves[line["move"]] = Move(*about)
            elif line["move"] in moves:
                moves[line["move"]].events.append(line)
        return list(moves.values())

    def move(self, id: str) -> "Move":
        return next(move for move in self.moves() if move.id == id)

    def half_way(self) -> "Move | None":
        """The move that has no end: under way, held, or killed."""
        return next((move for move in reversed(self.moves()) if move.result is None), None)

    def goes_back(self, release: str) -> bool:
        """Whether a move to the release is a rollback: it completed here, and no rollback left it since.

        Only such a move leaves SHADOW and CANARY out, so nobody's word for it is taken."""
        proven: set[str] = set()
        for move in self.moves():
            if move.result == "completed":
                if move.why == "rollback" and move.origin:
                    proven.discard(str(move.origin["release"]))
                proven.add(move.release)
        return release in proven

    def counted(self, release: str, slot: str) -> dict[str, Any] | None:
        """What the edge had counted for a slot when the rollout of its release ended there."""
        ended = [m for m in self.moves() if (m.release, m.slot, m.result) == (release, slot, "completed")]
        return ended[-1].events[-1].get("counted") if ended else None


@dataclass
class Move:
    """One move of an environment to `release` on `slot`; `origin` is where traffic went before (or None)."""

    id: str
    release: str
    slot: str
    origin: dict[str, Any] | None
    why: str
    at: str
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def result(self) -> str | None:
        """`completed` or `failed`; None while it is under way, is held, or was killed."""
        return self._last("end", "result")

    @property
    def failing(self) -> str | None:
        """The reason, once the move has turned back."""
        return self._last("turn-back", "reason")

    def first(self, event: str, step: str) -> dict[str, Any]:
        """The first `intent` of a step, or `fact`: when the move came to it, or what was known when it was
        finished. Empty where there is none."""
        return next((e for e in self.events if (e["event"], e.get("step")) == (event, step)), {})

    @property
    def seconds(self) -> float:
        """From its beginning to its last event."""
        begun, last = (datetime.fromisoformat(at) for at in (self.at, self.events[-1]["at"]))
        return (last - begun).total_seconds()

    @property
    def done(self) -> set[str]:
        """The steps that are finished or were left out."""
        return {event["step"] for event in self.events if event["event"] == "fact"}

    @property
    def waits(self) -> str | None:
        """Why the move does not go on by itself: it is held, paused or was interrupted."""
        last = self.events[-1] if self.events else {}
        if last.get("event") not in ("hold", "pause", "interrupted"):
            return None
        return f"{last['event']} at {last['step']}: {last.get('reason') or last.get('by') or 'as asked'}"

    @property
    def ended(self) -> str:
        """How the move ended, or why it has not, in words."""
        result = self.result or self.waits or "unfinished"
        return f"{result}: {self.failing}" if self.failing else result

    def table(self, env: str) -> list[str]:
        """Markdown: where the move went, how it ended, and what each step found."""
        origin = f"`{self.origin['release'][:12]}`" if self.origin else "nothing"
        lines = [f"### {env}: {origin} to `{self.release[:12]}` on {self.slot}, {self.ended}", ""]
        lines += ["| step | at | found |", "| --- | --- | --- |"]
        for event in self.events:
            if event["event"] == "fact":
                found = ", ".join(f"{name} {value}" for name, value in shown(event).items())
                lines.append(f"| {event['step']} | {event['at'][11:19]} | {found} |")
        return lines

    @property
    def paused(self) -> bool:
        """Whether a person asked the move to wait."""
        return bool(self.events) and self.events[-1]["event"] == "pause"

    def _last(self, event: str, key: str) -> str | None:
        found = [e[key] for e in self.events if e["event"] == event]
        return str(found[-1]) if found else None


def shown(event: Mapping[str, Any]) -> dict[str, Any]:
    """What of a line people read: histograms are for machines."""
    return {name: value for name, value in event.items() if name not in COLUMNS + HISTOGRAMS}
