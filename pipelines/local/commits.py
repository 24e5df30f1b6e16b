"""What the stand-in of GitHub's API says of commits: branches, trees, files, what is between two."""

import base64
from typing import Any

from pipelines.base import git
from pipelines.local.forge import ApiError, Forge, route

TREE_LIMIT = 100_000  # entries


@route("GET", "/git/ref/heads/{path}", "contents:read")
def get_branch(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    sha = forge.ask("rev-parse", "--verify", "--quiet", f"refs/heads/{at['path']}^0")
    return 200, {"ref": f"refs/heads/{at['path']}", "object": {"type": "commit", "sha": sha}}


@route("GET", "/git/trees/{sha}", "contents:read")
def get_tree(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    """A tree, or that of a commit, with the trees in it where `recursive` is given, whatever its value."""
    deep = ["-r", "-t"] if "recursive" in at else []
    listed = forge.ask("ls-tree", "-z", *deep, "--end-of-options", at["sha"])
    entries = []
    for line in listed.split("\0")[:-1] if listed else []:
        about, _, path = line.partition("\t")
        mode, kind, sha = about.split()
        entries.append({"path": path, "mode": mode, "type": kind, "sha": sha})
    truncated = len(entries) > TREE_LIMIT
    return 200, {"sha": at["sha"], "tree": entries[:TREE_LIMIT], "truncated": truncated}


@route("GET", "/git/blobs/{sha}", "contents:read")
def get_blob(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    done = git.tried("cat-file", "blob", at["sha"], at=forge.origin)
    if done.code:
        raise ApiError(404, "Not Found")
    content = base64.encodebytes(done.out).decode()
    return 200, {"sha": at["sha"], "size": len(done.out), "encoding": "base64", "content": content}


@route("GET", "/compare/{path}", "contents:read")
def compare(forge: Forge, at: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
    """What the workflows read of a comparison: where the two part, and how far each is from there."""
    ends = [forge.commit(end) for end in at["path"].split("...", 1)]
    merge_base = forge.ask("merge-base", *ends, missing="No common ancestor between these two")
    behind, ahead = forge.git("rev-list", "--left-right", "--count", "...".join(ends)).split()
    state = {(True, True): "diverged", (True, False): "behind", (False, True): "ahead"}
    return 200, {
        "status": state.get((behind != "0", ahead != "0"), "identical"),
        "ahead_by": int(ahead),
        "behind_by": int(behind),
        "base_commit": {"sha": ends[0]},
        "merge_base_commit": {"sha": merge_base},
    }
