"""The image of the newest release in the store, beside BentoML's own: `make bench ONLY=image`.

It needs a Docker engine and a release (`ml release`). Both images are of one base, whose name is printed:
python:3.11-slim, or what GREENLIGHT_BASE_IMAGE names. Ours is built twice without the builder's cache."""

import http.client
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import figure, run
from pipelines.base import programs
from pipelines.base.errors import UserError
from pipelines.registry import store as stores
from pipelines.release import image

STARTS = 5
LARGEST_MB, READY_SECONDS = 320.0, 3.0  # the aims
THEIRS = "greenlight-bench-bentoml"
# What a base without pip, or a company's network, needs; all else is BentoML's own file.
HELP = "COPY uv ca.pem /usr/local/bin/\nENV SSL_CERT_FILE=/usr/local/bin/ca.pem\n"


def main() -> None:
    if reason := image.missing():
        print(f"image: not measured: {reason}")
        return
    if not (known := stores.of().list()):
        raise UserError("no release is in the store: run `ml release` first")
    folder = stores.of().get(known[0].id)
    digests = []
    for _ in range(2):
        started = time.monotonic()
        with image.built(folder, cached=False) as made:
            digests.append(made.image.digest)
        figure("image: built, without a cache", time.monotonic() - started, "s")
    print(f"image: the base is {made.image.base}; the digest is {digests[0]}")
    same = len(set(digests)) == 1
    figure("image: digests of two builds", len(set(digests)), "", "== 1", same)
    size = made.size / 1e6
    figure("image: size", size, "MB", f"<= {LARGEST_MB:.0f}", size <= LARGEST_MB)
    name = f"{known[0].name}:{known[0].id[:16]}"
    ready = statistics.median(start(name) for _ in range(STARTS))
    figure(f"image: ready, median of {STARTS}", ready, "s", f"<= {READY_SECONDS:.0f}", ready <= READY_SECONDS)
    beside(folder, os.environ.get("GREENLIGHT_BASE_IMAGE") or image.BASE)


def start(name: str) -> float:
    """Seconds from `docker run` until the service says that it is ready."""
    begun, wanted = time.monotonic(), ("--read-only", "--tmpfs", "/tmp", "--publish", "127.0.0.1::3000")
    container = docker("run", "--detach", *wanted, name)
    try:
        port = int(docker("port", container, "3000/tcp").rpartition(":")[2])
        while time.monotonic() < begun + 60:
            try:
                line = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
                line.request("GET", "/readyz")
                if line.getresponse().status == 200:
                    return time.monotonic() - begun
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
        raise UserError(f"{name} was not ready within 60 s: read `docker logs`")
    finally:
        docker("rm", "--force", container)


def beside(folder: Path, base: str) -> None:
    """The size of the image that BentoML's own Dockerfile makes; where that does not build, why."""
    with tempfile.TemporaryDirectory(prefix="greenlight-") as scratch:
        context = Path(scratch, "bento")
        shutil.copytree(folder / "bento", context)
        file = context / "env" / "docker" / "Dockerfile"
        text = file.read_text(encoding="utf-8")
        first = next(line for line in text.splitlines() if line.startswith("FROM "))
        file.write_text(text.replace(first, f"FROM {base} AS base-container\nUSER root\n{HELP}", 1))
        shutil.copyfile(programs.find("uv") or "uv", context / "uv")
        (context / "uv").chmod(0o755)
        trusted = next((os.environ[n] for n in image.CERTIFICATES if os.environ.get(n)), None)
        certificates = trusted or "/etc/ssl/certs/ca-certificates.crt"
        shutil.copyfile(certificates, context / "ca.pem")
        started = time.monotonic()
        command = ["docker", "build", "--no-cache", "--tag", THEIRS, "--file", str(file), str(context)]
        done = programs.run(command, timeout=1800)
    if done.returncode:
        print(
            f"image: BentoML's own was not measured: {' '.join((done.stderr or done.stdout).split())[-300:]}"
        )
        return
    figure("image: BentoML's own, built", time.monotonic() - started, "s")
    figure(
        "image: BentoML's own, size",
        int(docker("image", "inspect", "--format", "{{.Size}}", THEIRS)) / 1e6,
        "MB",
    )
    docker("rmi", "--force", THEIRS)


def docker(*command: str) -> str:
    done = programs.run(["docker", *command], timeout=300)
    if done.returncode:
        raise UserError(f"`docker {command[0]}` failed: {' '.join(done.stderr.split())[-200:]}")
    return str(done.stdout).strip()


if __name__ == "__main__":
    run(main)
