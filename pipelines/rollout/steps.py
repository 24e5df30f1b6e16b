"""The steps of a rollout, in order: what each does, how it is undone, and when there is nothing to do.

A step asks the world before it changes it, so that it can be done again after a kill; and it can be undone
whether it was finished, half done or never begun."""

import time
from dataclasses import asdict

from pipelines.artifacts.release import MODELS
from pipelines.artifacts.serving import Golden
from pipelines.base.console import step as say
from pipelines.base.errors import Refused
from pipelines.base.waiting import until
from pipelines.core import params, tasks
from pipelines.core.model import Model
from pipelines.edge.edge import Counters, Route
from pipelines.host import services
from pipelines.host.slots import process
from pipelines.rollout import analysis, checks, shadow
from pipelines.rollout.context import Context, Facts, Held, Step

LOOK_SECONDS = 0.1  # between two looks at the edge's statistics
SPELL_SECONDS = 0.5  # whose slow requests count as one; the edge merges its histograms as often
ENOUGH = 100  # answers that tell what is slow
UNASKED_SECONDS = 5.0  # of a bake to which no caller comes
UNWELL_SECONDS = 1.5  # without health that end a bake; an edge that was killed is back sooner
SKEW = 1e-6  # the largest difference between what was served and what the same model answers offline


def prepare(r: Context) -> Facts:
    """The release, hashed against its id, starts in the idle slot; nobody asks it yet."""
    r.folder, slot = r.releases.get(r.release), r.host.slot(r.slot)
    if process.running(slot) != r.release:
        process.stop(slot)
        r.wait(lambda: not r.edge.healthy(r.slot), 10, "is still called healthy after its stop")
        services.check_ports(r.host)
        process.start(slot, r.release, r.folder)
    return {}


def stop_idle(r: Context) -> None:
    """The slot ends, unless it has the traffic."""
    route = r.edge.route()
    if route is None or route.slot != r.slot:
        r.stop(r.slot)


def verify(r: Context) -> Facts:
    """Healthy by the edge's own checks; right, quick, and as tolerant as what it replaces."""
    r.wait(r.is_healthy, r.limits.healthy_within, "is not healthy")
    golden = Golden.read(r.folder / MODELS)
    difference = checks.golden_rows(r.url, r.release, golden, tasks.of(r.contract))
    median = checks.answer_time(r.url, golden, r.limits.answer_within)
    accepted = checks.accepts(r.url, r.folder, r.live_folder()) if r.origin else 0
    say(f"{r.slot}: golden rows within {difference:.2g}, a row in {median * 1e3:.1f} ms")
    return {"max_dp": difference, "seconds": round(median, 5), "requests_of_live": accepted}


def mirror(r: Context) -> Facts:
    """Copies of live requests go to the slot until there are enough pairs of answers to compare."""
    assert r.origin
    limits, since = r.limits.shadow, r.move.first("intent", "SHADOW").get("at", r.move.at)
    r.edge.route_to(Route(r.origin.slot, r.origin.release, fallback=r.slot, mirror=r.slot))
    pairs = shadow.Shadow(r.host.predictions, r.origin.slot, r.slot, since, tasks.of(r.contract))
    watched, end, told = Watched(r, copies=r.slot), time.monotonic() + limits.patience, 0.0
    asked_again = 0
    while (found := pairs.read()) < limits.pairs:
        watched.look()
        if time.monotonic() > end:
            if limits.ask_again and (asked_again := _ask_again(r, pairs, limits.pairs - found)):
                break
            raise Held(_too_few_pairs(found, limits))
        if time.monotonic() > told + 10:
            say(f"{r.slot}: {found:,} of {limits.pairs:,} pairs of answers")
            told = time.monotonic()
        time.sleep(0.5)
    return {"compared": asdict(_compare(r, pairs)), "asked_again": asked_again, **watched.facts()}


def _ask_again(r: Context, pairs: shadow.Shadow, most: int) -> int:
    """Ask both slots what callers asked in the last weeks, where that is enough; how many pairs it gave."""
    assert r.origin
    rows = shadow.logged(r.host.predictions, r.contract, most)
    if pairs.pairs + len(rows) < shadow.LEAST:
        return 0
    say(f"{r.slot}: asks {len(rows):,} logged requests again, which callers asked within {shadow.DAYS} days")
    before, live = pairs.pairs, r.host.slot(r.origin.slot).url
    asked = shadow.ask(live, r.url, rows, pairs.again)
    until(lambda: pairs.read() >= before + asked, 10, 0.1)
    return pairs.pairs - before if pairs.pairs >= shadow.LEAST else 0


def _too_few_pairs(found: int, limits: params.Shadow) -> str:
    where = "params.yaml: rollout.shadow"
    more = f"with {where}.ask_again: true the logged requests of {shadow.DAYS} days are asked again"
    if limits.ask_again:
        more = f"and fewer than {shadow.LEAST} with what the log of {shadow.DAYS} days has"
    return (
        f"{found:,} of {limits.pairs:,} pairs of answers after {limits.patience:g} s "
        f"({where}.pairs and patience); callers' requests are still copied; {more}"
    )


def _compare(r: Context, pairs: shadow.Shadow) -> shadow.Comparison:
    """Refused where answers are not the model's own, or differ from the live ones as the gate did not see."""
    live, least = r.live_folder(), r.limits.shadow.wasserstein
    seen, why = shadow.expected(r.folder, live) if live else (None, "the live release is not in the store")
    delta = (task := tasks.of(r.contract)).delta
    model = Model(r.folder / MODELS / "model.onnx", task)
    found = pairs.compare(model, r.contract.features, seen, why)
    if found.skew is not None and not found.skew <= SKEW:
        why = f"max |{delta}| is {found.skew:.3g} in {found.pairs:,} answers, at most {SKEW:g} is allowed"
        raise Refused(f"{r.slot} serves other answers than its model gives offline: {why}")
    apart, most = found.wasserstein, shadow.limit(least, seen) if seen else least
    if apart is not None and not apart <= most:
        raise Refused(
            f"{r.slot} differs from the live release otherwise than the gate saw: Wasserstein-1 of {delta} "
            f"is {apart:.3g}, at most {most:.3g} is allowed (params.yaml: rollout.shadow.wasserstein)"
        )
    skew, dp = ("not known" if value is None else f"{value:.2g}" for value in (found.skew, apart))
    say(f"{r.slot}: {found.pairs:,} pairs of answers, skew {skew}, Wasserstein-1 of {delta} {dp}")
    for reason in found.why:
        say(f"{r.slot}: {reason}")
    return found


def canary(r: Context) -> Facts:
    """A growing share of the callers is answered by the slot, beside the live one."""
    assert r.origin
    reached: list[Facts] = []
    for part in r.limits.canary:
        r.edge.route_to(Route(r.origin.slot, r.origin.release, fallback=r.slot, share=part.share))
        say(f"{r.slot}: {part.share:g} % of the requests for {part.seconds:g} s")
        watched, begun = Watched(r), time.monotonic()
        while time.monotonic() < begun + part.seconds or watched.new.requests < part.requests:
            watched.look()
            if time.monotonic() > begun + part.seconds + part.patience:
                came = f"{watched.new.requests:,} of {part.requests:,} requests at {part.share:g} %"
                raise Held(f"{came} after {part.seconds + part.patience:g} s: it waits for callers")
            time.sleep(LOOK_SECONDS)
        reached.append({"share": part.share, **watched.facts()})
    return {"steps": reached}


def flip(r: Context) -> Facts:
    """All traffic goes to the slot; the old one is behind it, and gets copies to be compared with."""
    old = r.origin.slot if r.origin else None
    watched = Watched(r, copies=old)
    seconds = r.edge.route_to(Route(r.slot, r.release, fallback=old, mirror=old))
    say(f"{r.slot}: has all traffic, {seconds * 1e3:.0f} ms after the command")
    return {"seconds": round(seconds, 4), "start": watched.since}


def bake(r: Context) -> Facts:
    """The new slot is watched, with the deployer's own requests at least, while the old one stands by."""
    limits, begun, own, baked, answers = r.limits.bake, time.monotonic(), 0, 0.0, False
    flipped = r.move.first("fact", "FLIP")
    watched = Watched(r, r.origin.slot if r.origin else None, flipped["start"])
    enough = min(limits.seconds, UNASKED_SECONDS)
    while baked < enough or watched.new.requests < limits.requests or not answers:
        answers = checks.probe(r.edge.model_url) == r.release
        watched.look()
        own, baked = own + 1, time.monotonic() - begun
        enough = limits.seconds if watched.new.requests > own else enough
        if baked > limits.seconds + 60:
            came = f"{watched.new.requests} of {limits.requests} requests reached {r.slot}"
            raise Held(came + ("" if answers else ", and it does not answer"))
        time.sleep(LOOK_SECONDS)
    say(f"{r.slot}: {watched.new.requests} requests in {baked:.1f} s, {watched.new.errors} failed")
    return watched.facts()


def retire(r: Context) -> Facts:
    """From here on there is no way back but another move; the old slot ends once nothing is in flight."""
    r.edge.route_to(Route(r.slot, r.release))
    return {"in_flight": r.stop(r.origin.slot)} if r.origin else {}


def bring_back(r: Context) -> None:
    """Traffic is where it was before the rollout."""
    if r.edge.route() != r.origin:
        r.edge.route_to(r.origin)


class Watched:
    """The new slot beside the live colour, over the same time, as the edge counts both.

    In CANARY each answers its share; in SHADOW and BAKE one of them answers copies. A record of before would
    not do: when the whole machine is slow for a while, an equal release looks slow beside it."""

    def __init__(self, r: Context, copies: str | None = None, since: Facts | None = None) -> None:
        """`copies` is the slot that answers copies, if any; `since` what an earlier run began with."""
        self._r, old = r, r.origin.slot if r.origin else None
        pairs = ((r.slot, old), (old, r.slot))
        self._clusters = {slot: None if slot == copies else other for slot, other in pairs if slot}
        now = {slot: self._counters(slot) for slot in self._clusters}
        self.since = since or {slot: asdict(counted) for slot, counted in now.items()}  # for the journal
        self._before = {slot: Counters.parse(value) for slot, value in self.since.items()}
        self._bound = analysis.slow_above(r.record_of_live().times)
        self._spells, self._spell, self._unwell = analysis.Spells(), (time.monotonic(), now), 0.0
        self.new = self.live = Counters()

    def look(self) -> None:
        """Count again. Refused where the slot is shown to be worse, or is not healthy any more."""
        r = self._r
        self.new = self._since(r.slot)
        if r.origin:
            self.live = self._since(r.origin.slot)
            self._add_spell(r.origin.slot)
        if worse := analysis.shown_worse(self.live, self.new, self._spells, r.limits.analysis):
            raise Refused(f"{r.slot} is worse than the live release: {worse}")
        if r.edge.healthy(r.slot):
            self._unwell = 0.0
        elif not self._unwell:
            self._unwell = time.monotonic()
        elif time.monotonic() > self._unwell + UNWELL_SECONDS:
            raise Refused(f"{r.slot} is no longer healthy")

    def facts(self) -> Facts:
        """What came since, for the journal."""
        each = {"new": self.new, "live": self.live}
        counts = {name: {"requests": of.requests, "errors": of.errors} for name, of in each.items()}
        return {**counts, "spells": asdict(self._spells)}

    def _add_spell(self, old: str) -> None:
        """Slow is what the live colour hardly was in this step so far, or since its own rollout."""
        begun, before = self._spell
        if time.monotonic() < begun + SPELL_SECONDS:
            return
        now = {slot: self._counters(slot) for slot in self._clusters}
        its = [now[slot].since(before[slot]).times for slot in (old, self._r.slot)]
        live, new = ((analysis.total(times), analysis.beyond(times, self._bound)) for times in its)
        self._spells = self._spells.and_then(live, new, self._r.limits.analysis)
        self._spell, so_far = (time.monotonic(), now), now[old].since(self._before[old]).times
        if analysis.total(so_far) >= ENOUGH:
            self._bound = analysis.slow_above(so_far)

    def _counters(self, slot: str) -> Counters:
        return self._r.edge.counters(slot, self._clusters[slot])

    def _since(self, slot: str) -> Counters:
        return self._counters(slot).since(self._before[slot])


def _not_beside_live(r: Context) -> str | None:
    if r.origin is None:
        return "nothing is live yet"
    return "a rollback goes to what ran before" if r.why == "rollback" else None


def _no_shadow(r: Context) -> str | None:
    listed = r.host.environment in r.limits.shadow.environments
    return _not_beside_live(r) or (None if listed else "not in params.yaml: rollout.shadow.environments")


def _no_canary(r: Context) -> str | None:
    return _not_beside_live(r) or (None if r.limits.canary else "params.yaml: rollout.canary is empty")


STEPS: tuple[Step, ...] = (
    Step(
        "PREPARE",
        lambda r: f"fetch {r.release[:12]} from the store, hash it against its id, start it on {r.slot}",
        prepare,
        stop_idle,
    ),
    Step(
        "VERIFY",
        lambda r: (
            f"health by the edge's own check within {r.limits.healthy_within:g} s, golden rows within "
            f"{checks.TOLERANCE:g}, a row in {r.limits.answer_within * 1e3:g} ms, what the live one accepts"
        ),
        verify,
    ),
    Step(
        "SHADOW",
        lambda r: f"copies of live requests to {r.slot}, until {r.limits.shadow.pairs:,} pairs agree",
        mirror,
        bring_back,
        _no_shadow,
        once=True,
    ),
    Step(
        "CANARY",
        lambda r: ", then ".join(f"{c.share:g} % for {c.seconds:g} s" for c in r.limits.canary),
        canary,
        bring_back,
        _no_canary,
        once=True,
    ),
    Step("FLIP", lambda r: f"all traffic to {r.slot}", flip, bring_back),
    Step(
        "BAKE",
        lambda r: (
            f"watch {r.slot} for {r.limits.bake.seconds:g} s, where callers come, and at least "
            f"{r.limits.bake.requests} requests"
            + (f", {r.origin.slot} behind it with copies to compare" if r.origin else "")
        ),
        bake,
        once=True,
    ),
    Step(
        "RETIRE",
        lambda r: f"let {r.origin.slot} finish its requests, and stop it" if r.origin else "nothing to stop",
        retire,
    ),
)
NAMES = tuple(step.name for step in STEPS)
