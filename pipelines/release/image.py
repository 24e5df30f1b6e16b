"""`ml store image`: the image of a release, where a Docker engine answers; else a sentence says so.

Not by `bentoml containerize`: it takes no Dockerfile template for Bentos of version 2, leaves compilers in
the image, and adds a line without a hash to the lock, which pip then refuses.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from pipelines.artifacts.release import Image, Release
from pipelines.base import programs
from pipelines.base.console import step, summary
from pipelines.base.errors import Refused, UserError
from pipelines.registry import store as stores
from pipelines.registry.store import Store

BASE = "python:3.11-slim"  # or what GREENLIGHT_BASE_IMAGE names: it needs python3 with venv, and no more
DOCKERFILE = Path(__file__).with_name("Dockerfile")
CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE")  # whose file says whom a company's network trusts


def image(release: str, store: Store | None = None) -> None:
    """Build the image of a release and write its digest into release.json.

    Where no engine answers, or its base image cannot be had, nothing is built and the summary says how to
    switch it on; where DOCKER_HOST or GREENLIGHT_BASE_IMAGE was set, that is a UserError. Refused where the
    build fails."""
    store = store or stores.of()
    folder = store.get(release)
    about = Release.read(folder)
    base = os.environ.get("GREENLIGHT_BASE_IMAGE") or BASE
    if reason := _missing(base):
        step(reason)
        summary(f"### Image\n\nNone: {reason}.")
        return
    name = f"{about.name}:{about.id[:16]}"
    if (made := about.image) is None or _docker("image", "inspect", made.digest).returncode:
        step(f"building the image {name} from {base}")
        _build(folder / "bento", name, base, about.id)
        digest = _docker("image", "inspect", "--format", "{{.Id}}", name).stdout.strip()
        made = Image(name=name, digest=digest, base=base)
        store.note(about.id, made)
    size = int(_docker("image", "inspect", "--format", "{{.Size}}", name).stdout)
    step(f"the image {name} is {made.digest}, {size / 1e6:.0f} MB")
    summary(f"### Image\n\n`{name}`, `{made.digest}`, {size / 1e6:.0f} MB, from `{base}`.")


def _missing(base: str) -> str | None:
    """Why there will be no image, and how to have one; None where everything is there."""
    if not shutil.which("docker") or _docker("version", "--format", "{{.Server.Version}}").returncode:
        if host := os.environ.get("DOCKER_HOST"):
            raise UserError(f"DOCKER_HOST names an engine that does not answer ({host}): start or unset it")
        return "no Docker engine answers here; start one (or set DOCKER_HOST) and run `ml store image` again"
    if _docker("image", "inspect", base).returncode == 0:
        return None
    if (pulled := _docker("pull", "--quiet", base)).returncode == 0:
        return None
    words = f"the base image {base} cannot be had ({_end(pulled.stderr)})"
    if os.environ.get("GREENLIGHT_BASE_IMAGE"):
        raise UserError(f"{words}: GREENLIGHT_BASE_IMAGE must name an image that this engine has or can pull")
    return f"{words}; set GREENLIGHT_BASE_IMAGE to an image with python3 and venv, then run `ml store image`"


def _build(bento: Path, name: str, base: str, release: str) -> None:
    """Build in a folder that holds the Bento, its lock and the machine's certificates, which stay outside."""
    with tempfile.TemporaryDirectory(prefix="greenlight-") as scratch:
        context = Path(scratch)
        shutil.copytree(bento, context / "bento")
        shutil.copyfile(bento / "src" / "requirements" / "serve.txt", context / "serve.txt")
        certificates = [os.environ[variable] for variable in CERTIFICATES if os.environ.get(variable)]
        (context / "ca.pem").write_bytes(Path(certificates[0]).read_bytes() if certificates else b"")
        arguments = {"BASE": base, "RELEASE": release, "PIP_INDEX_URL": os.environ.get("PIP_INDEX_URL", "")}
        given = [f"--build-arg={key}={value}" for key, value in arguments.items() if value]
        done = _docker("build", "--tag", name, "--file", str(DOCKERFILE), *given, str(context), timeout=1800)
    if done.returncode:
        raise Refused(f"the image {name} could not be built: {_end(done.stderr or done.stdout)}")


def _docker(*command: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return programs.run(["docker", *command], timeout=timeout)


def _end(text: str) -> str:
    return " ".join(text.split())[-400:] or "no reason given"
