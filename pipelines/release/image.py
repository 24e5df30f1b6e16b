"""`ml image`: the image of a release, built by a Docker engine.

Not by `bentoml containerize`: it takes no Dockerfile template for Bentos of version 2, leaves compilers in
the image, and adds a line without a hash to the lock, which pip then refuses. What the engine has built is
made the same bytes whoever built it (`layers`), and the engine gets those.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipelines.artifacts.release import Image, Release
from pipelines.base import git, programs
from pipelines.base.console import step, summary
from pipelines.base.errors import Refused, UserError
from pipelines.base.github import hosted
from pipelines.registry import store as stores
from pipelines.registry.oci import Layout
from pipelines.registry.store import Store
from pipelines.release import commit, layers

BASE = "python:3.11-slim"  # or what GREENLIGHT_BASE_IMAGE names: it needs python3 with venv, and no more
HERE = Path(__file__).parent
DOCKERFILE, COMPILED = HERE / "Dockerfile", HERE / "compiled.py"
CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE")  # whose file says whom a company's network trusts
LABEL = "org.opencontainers.image"
TITLE = "### Image"


def image(release: str, store: Store | None = None) -> None:
    """Build the image of a release and write its digest into release.json.

    UserError where no engine answers, or its base image cannot be had. Refused where the build fails."""
    store = store or stores.of()
    folder = store.get(release)
    about = Release.read(folder)
    if reason := missing():
        raise UserError(reason)
    with built(folder) as made:
        if about.image is None or about.image.digest != made.image.digest:
            store.note(about.id, made.image)
        summary(f"{TITLE}\n\n`{made.image.name}`, {made.words}.")


@dataclass(frozen=True)
class Built:
    """An image that was built: what release.json says of it, its layout, and its size in bytes."""

    image: Image
    layout: Layout
    size: int

    @property
    def words(self) -> str:
        """For a summary."""
        return f"`{self.image.digest}`, {self.size / 1e6:.0f} MB, from `{self.image.base}`"


def missing() -> str | None:
    """Why there will be no image, and how to have one; None where all is there. UserError where what is
    missing was named, by DOCKER_HOST or GREENLIGHT_BASE_IMAGE."""
    base = _base()
    if not shutil.which("docker") or _docker("version", "--format", "{{.Server.Version}}").returncode:
        if host := os.environ.get("DOCKER_HOST"):
            raise UserError(f"DOCKER_HOST names an engine that does not answer ({host}): start or unset it")
        return "no Docker engine answers here; start one (or set DOCKER_HOST) and run `ml image` again"
    if _docker("image", "inspect", base).returncode == 0:
        return None
    if (pulled := _docker("pull", "--quiet", base)).returncode == 0:
        return None
    words = f"the base image {base} cannot be had ({_end(pulled.stderr)})"
    if os.environ.get("GREENLIGHT_BASE_IMAGE"):
        raise UserError(f"{words}: GREENLIGHT_BASE_IMAGE must name an image that this engine has or can pull")
    return f"{words}; set GREENLIGHT_BASE_IMAGE to an image with python3 and venv, then run `ml image`"


@contextlib.contextmanager
def built(folder: Path, repository: Path | str = ".", cached: bool = True) -> Iterator[Built]:
    """The image of the release in a folder, built, given to the engine, and as a layout for the block.

    The same release on the same base is the same digest. `cached`: steps of builds before may be used.
    Refused where the build fails."""
    about, base = Release.read(folder), _base()
    name = f"{about.name}:{about.id[:16]}"
    epoch = commit_time(about.commit, repository)
    step(f"building the image {name} from {base}")
    with tempfile.TemporaryDirectory(prefix="greenlight-") as scratch:
        saved = Path(scratch, "saved.tar")
        steps = () if cached else ("--no-cache",)
        _build(folder / "bento", name, base, about, labels(folder, repository), epoch, *steps)
        _done("save", "--output", str(saved), name)
        pinned, of_base = _inspected(base)
        layout = layers.normalise(saved, Path(scratch, "image"), of_base, epoch)
        _done("load", "--quiet", "--input", str(layout.archive(saved, name)))
        saved.unlink()
        size = int(_done("image", "inspect", "--format", "{{.Size}}", name))
        made = Built(Image(name=name, digest=layout.digest, base=pinned), layout, size)
        step(f"the image {name} is {layout.digest}, {size / 1e6:.0f} MB, from {pinned}")
        yield made


def labels(folder: Path, repository: Path | str = ".") -> dict[str, str]:
    """What the image of the release in a folder says of itself: nothing that another machine would not."""
    about = Release.read(folder)
    found = {
        f"{LABEL}.title": about.name,
        f"{LABEL}.version": about.id,
        f"{LABEL}.revision": about.commit,
        "greenlight.model": f"sha256:{about.model.sha256}",
    }
    if tracked := git.blob(about.commit, "data.dvc", repository):
        found["greenlight.data"] = f"md5:{yaml.safe_load(tracked)['outs'][0]['md5']}"
    if told := hosted(git.remote_url(at=repository)):
        found[f"{LABEL}.source"] = f"https://{'/'.join(told)}"
    return found


def commit_time(of: str, repository: Path | str = ".") -> int:
    """When a commit was made, in seconds since 1970. UserError where this repository does not have it."""
    if git.commit(of, repository) is None:
        raise UserError(f"the commit {of[:12]} is not in this repository: run `git fetch` first")
    return int(git.run("show", "--no-patch", "--format=%ct", of, at=repository))


def _base() -> str:
    return os.environ.get("GREENLIGHT_BASE_IMAGE") or BASE


def _inspected(base: str) -> tuple[str, list[str]]:
    """The base, with the digest by which a registry gave it out under this name, else with its id in this
    engine; the diff ids of its layers."""
    fields = ("RootFS.Layers", "RepoDigests", "Id")
    asked = "[" + ",".join(f"{{{{json .{field}}}}}" for field in fields) + "]"
    diffs, given, own = json.loads(_done("image", "inspect", "--format", asked, base))
    if "@" in base:
        return base, diffs
    name = base.rpartition(":")[0] if ":" in base.rpartition("/")[2] else base
    short = name.removeprefix("docker.io/").removeprefix("library/")  # as engines write it
    return f"{base}@{dict(one.split('@') for one in given or ()).get(short, own)}", diffs


def _build(
    bento: Path, name: str, base: str, about: Release, said: dict[str, str], epoch: int, *more: str
) -> None:
    """Build in a folder that holds the Bento, its lock and the machine's certificates, which stay outside."""
    with tempfile.TemporaryDirectory(prefix="greenlight-") as scratch:
        context = Path(scratch)
        shutil.copytree(bento, context / "bento", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copyfile(bento / "src" / "requirements" / "serve.txt", context / "serve.txt")
        shutil.copyfile(COMPILED, context / COMPILED.name)
        certificates = [os.environ[variable] for variable in CERTIFICATES if os.environ.get(variable)]
        (context / "ca.pem").write_bytes(Path(certificates[0]).read_bytes() if certificates else b"")
        arguments = {
            "BASE": base,
            "RELEASE": about.id,
            "SERVICE": commit.read(bento, "bento.yaml", "service", str),
            "PIP_INDEX_URL": os.environ.get("PIP_INDEX_URL", ""),
            "SOURCE_DATE_EPOCH": str(epoch),
        }
        given = [f"--build-arg={key}={value}" for key, value in arguments.items() if value]
        given += [f"--label={key}={value}" for key, value in said.items()]
        given += more
        done = _docker("build", "--tag", name, "--file", str(DOCKERFILE), *given, str(context), timeout=1800)
    if done.returncode:
        raise Refused(f"the image {name} could not be built: {_end(done.stderr or done.stdout)}")


def _done(*command: str) -> str:
    done = _docker(*command, timeout=600)
    if done.returncode:
        raise Refused(f"`docker {' '.join(command[:2])}` failed: {_end(done.stderr)}")
    return str(done.stdout).strip()


def _docker(*command: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return programs.run(["docker", *command], timeout=timeout)


def _end(text: str) -> str:
    return " ".join(text.split())[-400:] or "no reason given"
