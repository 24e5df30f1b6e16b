"""The address by which callers reach an environment, and the certificate that they are shown there."""

import datetime
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipelines.base.errors import UserError
from pipelines.host import address
from pipelines.setup import host as doctor
from pipelines.setup.check import Check, State
from tests.delivery import tiny
from tests.delivery.test_trust import ENV, Trusting, world

assert world  # the fixture
Serve = Callable[..., str]


def certified(folder: Path, lasts: float, left: float, name: str = "127.0.0.1") -> Path:
    """A certificate of `lasts` days of which `left` are left, with its key, in one file."""
    key, now, day = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC), 86_400
    ends = now + datetime.timedelta(seconds=left * day)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "callers")])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1)
        .not_valid_before(ends - datetime.timedelta(seconds=lasts * day))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file = folder / "certificate.pem"
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + made.public_bytes(pem))
    return file


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serves by https what ends TLS before an edge; returns its address."""
    servers: list[http.server.HTTPServer] = []

    def start(lasts: float, left: float, name: str = "127.0.0.1", known: bool = True, says: int = 200) -> str:
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(says if self.path == "/flights/readyz" else 404)
                self.end_headers()

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        file, context = certified(tmp_path, lasts, left, name), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        monkeypatch.setenv("SSL_CERT_FILE", str(file if known else tmp_path / "none"))
        return f"https://127.0.0.1:{server.server_port}/flights"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def told(world: Trusting) -> Check:
    return next(one for one in doctor.checks(world.home, tiny.CONTRACT.name) if one.what == f"{ENV} address")


def test_doctor_says_how_long_the_certificate_still_holds(world: Trusting, serve: Serve) -> None:
    assert (told(world).state, told(world).fails) == (State.OFF, False) and "--address" in told(world).way_out
    address.keep(serve(lasts=90, left=63.5), world.host.folder)
    assert told(world).state is State.ON and told(world).says.endswith(
        "/flights: the certificate has 63 days left"
    )


@pytest.mark.parametrize(
    ("lasts", "left", "late"),
    [(90, 22, False), (90, 20, True), (6, 1.6, False), (6, 1.4, True), (365, 30, False), (365, 20, True)],
)
def test_a_certificate_that_should_have_been_renewed_is_off(
    world: Trusting, serve: Serve, lasts: float, left: float, late: bool
) -> None:
    address.keep(serve(lasts, left), world.host.folder)
    assert told(world).fails is late


@pytest.mark.parametrize(
    ("served", "why"),
    [
        ({"left": -1}, "certificate has expired"),
        ({"name": "127.0.0.2"}, "IP address mismatch"),
        ({"known": False}, "self-signed certificate"),
        ({"says": 502}, "readyz answers 502"),
    ],
)
def test_what_callers_could_not_use_is_off_and_says_why(
    world: Trusting, serve: Serve, served: dict[str, object], why: str
) -> None:
    address.keep(serve(**{"lasts": 90, "left": 60} | served), world.host.folder)
    assert told(world).fails and why in told(world).says


@pytest.mark.parametrize("text", ["", "http://example.org", "https://ex\u00e4mple.org", "https://a b"])
def test_a_file_that_somebody_has_edited_into_no_address_is_off_and_named(world: Trusting, text: str) -> None:
    (world.host.folder / address.NAME).write_text(text)
    assert told(world).fails and "staging/address: " in told(world).says
    assert "--address" in told(world).way_out


def test_an_address_where_nobody_answers_is_off(world: Trusting) -> None:
    address.keep("https://127.0.0.1:9", world.host.folder)
    assert told(world).fails and "Connection refused" in told(world).says


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "example.org",
        "https://",
        "https://me:word@example.org",
        "https://example.org:x",
        "https://example.org/?a=b",
        "https://example.org/a b",
        "https://example.org\n",
    ],
)
def test_an_address_that_is_none_of_https_is_refused_and_nothing_is_written(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--address"):
        address.keep(url, tmp_path)
    assert address.known(tmp_path) is None
