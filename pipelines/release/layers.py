"""An image that an engine has built, made the same bytes whoever built it, and when.

What differs from build to build is times, the order of files, modes by somebody's umask, and what the builder
says of itself. The base's layers stay as they are. Layers are not compressed: two versions of zlib would give
two digests. Files have no time, not the commit's, so that a layer that did not change is the one that the
registry has already; the image's own time is that of the commit (SOURCE_DATE_EPOCH)."""

import contextlib
import gzip
import json
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from pipelines.base.errors import UserError
from pipelines.base.files import sha256
from pipelines.registry.oci import LAYER, Layout

OURS = ("app", "bento")  # folders whose modes are ours, not a umask's
LEFT = ("root", "tmp", "var", "run", "etc", "dev", "proc", "sys")  # what a build's programs leave there
KEPT = (  # of what a container starts by
    *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels"),
    *("StopSignal", "Healthcheck", "Shell"),
)


def normalise(saved: Path, to: Path, base: Sequence[str], epoch: int) -> Layout:
    """The image in a file of `docker save`, as an OCI layout in the new folder `to`.

    `base` has the diff ids of the base's layers, `epoch` the seconds since 1970 at which the image says that
    it was made. UserError where the file is not an image on that base."""
    (to / "blobs" / "sha256").mkdir(parents=True)
    with tarfile.open(saved) as archive:
        try:
            (manifest,) = json.load(_file(archive, "manifest.json"))
            config = json.load(_file(archive, manifest["Config"]))
            diffs, files = config["rootfs"]["diff_ids"], manifest["Layers"]
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{saved} is not one image of `docker save`: save it again") from None
        if diffs[: len(base)] != list(base) or len(diffs) != len(files):
            raise UserError(f"{saved} is not built on the base that this engine has: build it again")
        layers = []
        for number, (file, diff) in enumerate(zip(files, diffs, strict=True)):
            target = to / "layer"
            with _plain(_file(archive, file)) as source:
                if number < len(base):
                    _copy(source, target, diff)
                else:
                    _rewrite(source, target)
            digest, size = f"sha256:{sha256(target)}", target.stat().st_size
            target.rename(Layout(to, "").blob(digest))
            layers.append({"mediaType": LAYER, "digest": digest, "size": size})
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    by = ["base" if number < len(base) else "ml image" for number in range(len(layers))]
    said = {name: config[name] for name in ("architecture", "os", "variant") if config.get(name)}
    said |= {
        "created": created,
        "config": {name: value for name in KEPT if (value := config["config"].get(name))},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        "history": [{"created": created, "created_by": name} for name in by],
    }
    return Layout.write(to, said, layers)


def _file(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    if found := archive.extractfile(name):
        return found
    raise KeyError(name)  # older engines write a link for a layer that is there twice


@contextlib.contextmanager
def _plain(source: IO[bytes]) -> Iterator[IO[bytes]]:
    """Some engines save layers compressed."""
    packed = source.read(2) == b"\x1f\x8b"
    source.seek(0)
    if packed:
        with gzip.open(source) as plain:
            yield cast(IO[bytes], plain)
    else:
        yield source


def _copy(source: IO[bytes], target: Path, diff: str) -> None:
    """A layer of the base, byte for byte."""
    with target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    if f"sha256:{sha256(target)}" != diff:
        raise UserError(
            f"a layer of the base is not the one that its config names ({diff[:19]}): pull it again"
        )


def _rewrite(source: IO[bytes], target: Path) -> None:
    """A layer of ours: sorted, without times and names of owners, our modes by whether a file can be run."""
    with (
        tarfile.open(fileobj=source, mode="r:") as before,
        tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as after,
    ):
        # a hard link comes after what it leads to
        for entry in sorted(before.getmembers(), key=lambda entry: (entry.islnk(), entry.name)):
            if entry.name.partition("/")[0] in LEFT:
                continue
            made = tarfile.TarInfo(entry.name)
            made.type, made.linkname, made.size = entry.type, entry.linkname, entry.size
            made.uid, made.gid, made.mode = entry.uid, entry.gid, entry.mode
            made.devmajor, made.devminor = entry.devmajor, entry.devminor
            if entry.name.partition("/")[0] in OURS and not entry.issym():
                made.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            after.addfile(made, before.extractfile(entry) if entry.isreg() else None)
