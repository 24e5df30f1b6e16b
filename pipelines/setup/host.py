"""What `ml doctor` looks at of each environment that is set up on this machine."""

import http.client
import shutil
from functools import partial
from pathlib import Path

from pipelines.artifacts.host import Outputs
from pipelines.base.errors import UserError, one_line
from pipelines.host import address, supervision, trust
from pipelines.host.host import COLOURS, Host
from pipelines.registry.ledger import Ledger
from pipelines.rollout import status
from pipelines.rollout.watch import Seen, told
from pipelines.setup.beside import beside, unknown
from pipelines.setup.check import Check, State
from pipelines.setup.machine import FREE_BYTES, size

GROUP = "host"
BEFORE_THE_EDGE = "look at what ends TLS before the edge, and at its certificate (docs/host.md)"


def checks(home: Path, model: str) -> list[Check]:
    """Edge and address, supervisor, slots, what the ledger wants, whose word that is, the prediction log."""
    names = sorted(file.parent.name for file in home.glob(f"*/{Outputs.NAME}"))
    if not names:
        says, way_out = f"none is set up in {home}", "`ml infra up --env staging` (docs/host.md)"
        return [Check(GROUP, "environments", State.OFF, says, way_out, matters=False)]
    return [check for name in names for check in _environment(name, model, home)]


def _environment(env: str, model: str, home: Path) -> list[Check]:
    try:
        host = Host.load(env, model, home)
    except UserError as error:
        return [Check(GROUP, env, State.OFF, one_line(error), f"`ml infra up --env {env}`")]
    way_out = "the ledger is a branch of origin: let this machine reach it"
    return beside(
        [
            (unknown(GROUP, f"{env} edge"), partial(_edge, host)),
            (unknown(GROUP, f"{env} address"), partial(_address, host)),
            (unknown(GROUP, f"{env} supervisor"), partial(_supervisor, host)),
            (unknown(GROUP, f"{env} slots"), partial(_slots, host)),
            (unknown(GROUP, f"{env} ledger", way_out), partial(_ledger, host)),
            (unknown(GROUP, f"{env} watch"), partial(_watch, host)),
            (unknown(GROUP, f"{env} predictions"), partial(_predictions, host)),
        ]
    )


def _edge(host: Host) -> Check:
    ready = host.edge.ready()
    says = f"answers at {host.edge.model_url}" if ready else f"nothing answers at {host.edge.admin_url}"
    return Check(GROUP, f"{host.environment} edge", _state(ready), says, _up(host))


def _address(host: Host) -> Check:
    """Whether callers get through to the edge, and for how long the certificate that they are shown holds."""
    what = f"{host.environment} address"
    keep = f"{_up(host, ' --address https://...')} (docs/host.md)"
    try:
        url = address.known(host.folder)
    except UserError as error:
        return Check(GROUP, what, State.OFF, one_line(error), keep)
    if url is None:
        return Check(GROUP, what, State.OFF, "only this machine can ask", keep, matters=False)
    try:
        certificate, status = address.ask(url)
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "verify_message", "") or one_line(error)
        return Check(GROUP, what, State.OFF, f"{url}: {why}", BEFORE_THE_EDGE)
    says = f"{url}: the certificate has {certificate.days:.0f} days left"
    if status != 200:
        return Check(GROUP, what, State.OFF, f"{says}; readyz answers {status}", BEFORE_THE_EDGE)
    return Check(GROUP, what, _state(not certificate.late), says, "renew it, where TLS ends (docs/host.md)")


def _supervisor(host: Host) -> Check:
    alone = supervision.alone(host)
    says = "runs, and is alone" if alone else "does not answer, or is not alone"
    return Check(GROUP, f"{host.environment} supervisor", _state(alone), says, _up(host))


def _slots(host: Host) -> Check:
    """Whether the slot that has the traffic serves what it should, as the edge itself calls it."""
    route, ready = host.edge.route(), host.edge.ready()
    told = {colour: status.slot(host, colour, ready) for colour in COLOURS}
    live = f"{route.slot} is live" if route else "nothing has traffic"
    says = "; ".join([live, *(f"{colour}: {words}" for colour, words in told.items())])
    well = route is not None and told[route.slot] == f"{route.release[:12]}, healthy"
    return Check(GROUP, f"{host.environment} slots", _state(well), says, _deploy(host))


def _ledger(host: Host) -> list[Check]:
    """Whether what is wanted runs; and whether a key signed it that the host lists."""
    found, route = (ledger := Ledger()).look(host.environment), host.edge.route()
    wanted = found.entry.release if found else None
    if wanted is None:
        says, way_out = "it wants nothing yet", "`ml release`, for production `ml promote`"
        return [Check(GROUP, f"{host.environment} ledger", State.OFF, says, way_out)]
    runs = route.release[:12] if route else "nothing"
    fault = status.difference(host, route, wanted, host.edge.ready())
    says = f"wants {wanted[:12]}, and {'it' if wanted[:12] == runs else runs} runs"
    if fault:
        way_out = fault.partition("; ")[2] or fault
        return [Check(GROUP, f"{host.environment} ledger", State.OFF, says, way_out), _signed(host, ledger)]
    return [Check(GROUP, f"{host.environment} ledger", State.ON, says), _signed(host, ledger)]


def _signed(host: Host, ledger: Ledger) -> Check:
    what = f"{host.environment} signed"
    if trust.signers(host.folder) is None:
        says = "no list of keys: whoever can push the ledger's branch names what runs here"
        way_out = f"{_up(host, ' --allowed-signers FILE')} (docs/host.md)"
        return Check(GROUP, what, State.OFF, says, way_out, matters=False)
    try:
        who = trust.believe(host, ledger, ledger.look(host.environment))
    except UserError as error:
        return Check(GROUP, what, State.OFF, one_line(error), trust.AGAIN)
    return Check(GROUP, what, State.ON, f"by {who}")


def _watch(host: Host) -> list[Check]:
    """Whether `ml watch` follows the ledger, where it ever did here."""
    if (seen := Seen.load(host)) is None:
        return []
    well = not seen.late and seen.trouble is None
    way_out = f"`journalctl -u greenlight-watch@{host.environment}` (docs/host.md)"
    return [Check(GROUP, f"{host.environment} watch", _state(well), told(host), way_out)]


def _predictions(host: Host) -> Check:
    """How large the prediction log is, and whether the disk has room for more."""
    logged = sum(file.stat().st_size for file in host.predictions.glob("*") if file.is_file())
    free = shutil.disk_usage(host.home).free
    says = f"{size(logged)}, {size(free)} free"
    way_out = "make room, or keep fewer days: GREENLIGHT_PREDICTION_DAYS (docs/host.md)"
    return Check(GROUP, f"{host.environment} predictions", _state(free >= FREE_BYTES), says, way_out)


def _state(well: bool) -> State:
    return State.ON if well else State.OFF


def _up(host: Host, more: str = "") -> str:
    return f"`ml infra up --env {host.environment}{more}`"


def _deploy(host: Host) -> str:
    return f"`ml deploy --env {host.environment}`"
