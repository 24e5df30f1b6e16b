"""What the page is made of: the ledger, the store, what a host knows, GitHub's open proposals.

All of it is data, and much of it is strangers': nothing of it is run, and what cannot be read is named.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

from pipelines.artifacts.drift import Check
from pipelines.base import git, machine
from pipelines.base.errors import UserError, one_line
from pipelines.base.github import SITE, GitHub, hosted, token
from pipelines.core.problem import Problem
from pipelines.host.host import Host
from pipelines.page import evidence
from pipelines.page.evidence import Evidence
from pipelines.pulls.proposals import GATE
from pipelines.registry import store as stores
from pipelines.registry.ledger import Ledger
from pipelines.registry.signing import fingerprint, public_of
from pipelines.registry.store import Store
from pipelines.rollout.journal import Journal, Move

MOST_PROPOSALS = 30  # that are shown: each costs a call
COLOURS = 6  # classes c0 to c5 of the style


@dataclass(frozen=True)
class Stay:
    """A release that an environment wanted, from one commit of the ledger `until` the next (None: still), in
    seconds since the epoch."""

    environment: str
    release: str
    commit: str  # of the ledger
    source: str  # the release's own commit
    why: str
    by: str
    since: int
    until: int | None
    signer: str  # a key's fingerprint; empty where nobody signed
    model: str | None
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """An environment: what it wanted, the newest first; where this machine is its host, what it serves, its
    moves, the oldest first, and its drift checks, the oldest first."""

    name: str
    stays: Sequence[Stay]
    here: bool = False
    serves: str | None = None
    moves: Sequence[Move] = ()
    checks: Sequence[Check] = ()

    @property
    def now(self) -> Stay:
        return self.stays[0]

    @property
    def since(self) -> int:
        """When the release became the wanted one: to write it once more does not count."""
        return list(takewhile(lambda stay: stay.release == self.now.release, self.stays))[-1].since


@dataclass(frozen=True)
class Proposal:
    """An open pull request, and the gate's word on its head."""

    number: int
    title: str
    author: str
    branch: str
    head: str
    created: str
    draft: bool
    state: str
    says: str


@dataclass(frozen=True)
class Seen:
    """All that is shown. `address`: of the repository on GitHub, where it is there."""

    name: str
    address: str
    places: Sequence[Place]
    releases: Sequence[Evidence]
    proposals: Sequence[Proposal] | None  # None: nobody could be asked
    proposals_more: int = 0
    notes: Sequence[str] = ()  # what cannot be seen from here, and from where it can

    @cached_property
    def colours(self) -> dict[str, str]:
        """The class of each release, in the order in which the ledger came to know them."""
        stays = sorted((stay for place in self.places for stay in place.stays), key=lambda stay: stay.since)
        known = [stay.release for stay in stays] + [release.id for release in reversed(self.releases)]
        return {id: f"c{n % COLOURS}" for n, id in enumerate(dict.fromkeys(known))}

    @property
    def newest(self) -> Stay | None:
        """The ledger's newest commit: the page is as of it."""
        return max((place.now for place in self.places), key=lambda stay: stay.since, default=None)


def look(problem: Problem) -> Seen:
    """What is there now. UserError where the ledger or the store cannot be read, or GitHub refuses."""
    ledger, store = Ledger(), stores.of()
    notes: list[str] = []
    places = [_place(ledger, name, problem.name, notes) for name in sorted(ledger.entries(), key=_order)]
    releases = _releases(store, places, problem, notes)
    if places and not any(place.here for place in places):
        notes.append(
            "Rollouts, drift and what each environment serves are known to the host, and no host is here: "
            "run `ml page` there, or attach a runner (docs/host.md)."
        )
    elif not any(place.checks for place in places):
        notes.append("No drift check has run on this host yet: `ml drift` leaves its report here.")
    address, proposals, more = _address(), None, 0
    if token() and os.environ.get("GITHUB_REPOSITORY"):
        proposals, more = _proposals(GitHub.from_environment())
    else:
        notes.append("Open proposals are shown where GITHUB_REPOSITORY and GITHUB_TOKEN say whom to ask.")
    return Seen(problem.name, address, places, releases, proposals, more, notes)


def _order(name: str) -> tuple[bool, str]:
    return name != "production", name


def _place(ledger: Ledger, name: str, model: str, notes: list[str]) -> Place:
    stays: list[Stay] = []
    for written in ledger.chain(name):
        entry, public = written.entry, public_of(ledger.content(written.commit))
        stays.append(
            Stay(
                environment=name,
                release=entry.release,
                commit=written.commit,
                source=entry.commit,
                why=entry.why,
                by=entry.by,
                since=ledger.moment(written.commit),
                until=stays[-1].since if stays else None,
                signer=fingerprint(public) if public else "",
                model=entry.model,
                figures=entry.evidence,
            )
        )
    try:
        host = Host.found(machine.home() / name)
        if host is None or model not in host.ports_of:
            return Place(name, stays)
        host = host.of(model)
        route, moves = host.edge.route(), Journal(host.place).moves()
        reports = sorted(host.drift.glob(f"*/{Check.NAME}"))
        checks = [Check.read(path.parent) for path in reports]
    except UserError as error:
        notes.append(f"{name}: {one_line(error)}")
        return Place(name, stays)
    return Place(name, stays, True, route.release if route else None, moves, checks)


def _releases(store: Store, places: Sequence[Place], problem: Problem, notes: list[str]) -> list[Evidence]:
    """Those in the store, the newest first, then those that only the ledger names, the newest first."""
    found = [evidence.read(about, store, problem) for about in store.list()]
    there = {release.id for release in found}
    stays = sorted((stay for place in places for stay in place.stays), key=lambda stay: -stay.since)
    lost = [Evidence(id) for id in dict.fromkeys(stay.release for stay in stays) if id not in there]
    if lost:
        notes.append(
            f"{len(lost)} of {len(found) + len(lost)} releases are not in {store.where}: of those is shown "
            "what the ledger says. GREENLIGHT_STORE names a store that keeps them (docs/github.md)."
        )
    return [*found, *lost]


def _address() -> str:
    server, named = os.environ.get("GITHUB_SERVER_URL", ""), os.environ.get("GITHUB_REPOSITORY", "")
    if re.fullmatch(r"https?://[\w.:-]+", server) and re.fullmatch(r"[\w.-]+/[\w.-]+", named):
        return f"{server}/{named}"
    host, name = hosted(git.remote_url()) or ("", "")
    return f"https://{host}/{name}" if host == SITE else ""


def _proposals(github: GitHub) -> tuple[list[Proposal], int]:
    pulls = github.list("/pulls?state=open")
    return [_proposal(github, pull) for pull in pulls[:MOST_PROPOSALS]], max(0, len(pulls) - MOST_PROPOSALS)


def _proposal(github: GitHub, pull: Mapping[str, Any]) -> Proposal:
    head = pull["head"]
    told = github.call("GET", f"/commits/{head['sha']}/status", missing={})
    said: Mapping[str, Any] = next(
        (one for one in told.get("statuses", ()) if one["context"].startswith(GATE)), {}
    )
    return Proposal(
        number=int(pull["number"]),
        title=str(pull["title"]),
        author=str((pull.get("user") or {}).get("login", "")),
        branch=str(head["ref"]),
        head=str(head["sha"]),
        created=str(pull.get("created_at") or ""),
        draft=bool(pull.get("draft")),
        state=str(said.get("state", "")),
        says=str(said.get("description") or ""),
    )
