"""A small image, as `docker save` writes it: a base of one layer, and what a build has put on top."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

DPKG = """Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc (2.36-9)
Version: 2.36-9+deb12u9

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0
"""
BASE = {"etc/os-release": 'ID=debian\nVERSION_ID="12"\n', "var/lib/dpkg/status": DPKG}
SITE = "app/lib/python3.11/site-packages"
OURS = {
    f"{SITE}/small_package-1.2.dist-info/METADATA": "Name: Small.Package\nVersion: 1.2\n",
    f"{SITE}/small_package-1.2.dist-info/RECORD": "small.py,,\n",
    "bento/src/service.py": "x = 1\n",
}


def layer(files: dict[str, str], time: int = 1, mode: int = 0o644, backwards: bool = False) -> bytes:
    """A tar of these files and their folders."""
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name in sorted(folders | files.keys(), reverse=backwards):
            entry = tarfile.TarInfo(name)
            entry.mtime, entry.mode, entry.uname = time, mode, "somebody"
            if name in files:
                entry.size = len(files[name].encode())
                archive.addfile(entry, io.BytesIO(files[name].encode()))
            else:
                entry.type, entry.mode = tarfile.DIRTYPE, mode | 0o100
                archive.addfile(entry)
    return held.getvalue()


def saved(to: Path, *layers: bytes, **config: object) -> list[str]:
    """Write such a file; returns the diff ids of its layers."""
    diffs = [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers]
    said = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "docker_version": "20.10",
        "config": {"User": "65534:65534", "Hostname": "abc", "Image": "sha256:1", "Env": ["A=1"]} | config,
        "rootfs": {"type": "layers", "diff_ids": diffs},
        "history": [{"created": "2026-01-01T00:00:00Z"}],
    }
    files = {f"{number}/layer.tar": one for number, one in enumerate(layers)}
    files["config.json"] = json.dumps(said).encode()
    listed = [
        {"Config": "config.json", "RepoTags": None, "Layers": [f"{n}/layer.tar" for n in range(len(layers))]}
    ]
    files["manifest.json"] = json.dumps(listed).encode()
    with tarfile.open(to, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return diffs
