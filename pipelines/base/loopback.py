"""What listens on this machine is asked straight, whatever proxy the machine has."""

import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:  # each start of `ml` is by this module, and most of them ask nothing
    from http.client import HTTPResponse
    from urllib.request import OpenerDirector, Request

NAMES = ("127.0.0.1", "localhost", "::1")


def ask(request: "Request | str", timeout: float) -> "HTTPResponse":
    """The answer of a server on this machine, as urllib's urlopen gives it, but never through a proxy."""
    return cast("HTTPResponse", _direct().open(request, timeout=timeout))


@cache
def _direct() -> "OpenerDirector":
    import urllib.request

    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def spared(environment: Mapping[str, str]) -> dict[str, str]:
    """NO_PROXY and no_proxy with what both say, and loopback: clients read either, urllib the latter."""
    said = ",".join(environment.get(name, "") for name in ("NO_PROXY", "no_proxy"))
    names = dict.fromkeys([*filter(None, (name.strip() for name in said.split(","))), *NAMES])
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(names))


def spare() -> None:
    """The same for this process, whose libraries read its environment."""
    os.environ.update(spared(os.environ))
