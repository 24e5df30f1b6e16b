"""Environments behind the stand-in of GitHub: whose branches deploy there, who must agree, their secrets; and
the repository's deploy keys. A wait timer is kept, and not waited for."""

import base64
from pathlib import Path
from typing import Any

from pipelines.base.console import harmless
from pipelines.base.errors import one_line
from pipelines.local import waits
from pipelines.local.events import now, user
from pipelines.local.forge import ApiError, Forge, invalid, one, route, text
from pipelines.local.marks import get_run

BILLING = "Failed to create the environment protection rule. Please ensure the billing plan supports the {}."
NOTHING_PENDING = "No pending deployment requests to approve or reject"  # for whom it does not wait, too
MOST_REVIEWERS = 6


# --- environments -----------------------------------------------------------------------------------------


@route("GET", "/environments/{name}", "actions:read")
def get_environment(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    return 200, shown(environment(forge, at["name"]))


@route("PUT", "/environments/{name}", "administration:write")
def put_environment(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """What the body does not say is off from then on. What the plan lacks is refused, an empty one too."""
    policy, reviewers = body.get("deployment_branch_policy"), body.get("reviewers") or []
    if body and not forge.plan.rules:
        raise ApiError(422, BILLING.format("branch policy protection rule"))
    if {"reviewers", "wait_timer", "prevent_self_review"} & body.keys() and not forge.plan.reviewers:
        raise ApiError(422, BILLING.format("required reviewers protection rule"))
    if policy and policy.get("protected_branches") == policy.get("custom_branch_policies"):
        raise ApiError(422, "protected_branches and custom_branch_policies cannot have the same value")
    ids = {user(login)["id"]: login for login in forge.state["roles"]}
    if len(reviewers) > MOST_REVIEWERS or any(r.get("id") not in ids for r in reviewers):
        raise ApiError(422, "Validation Failed", errors=["Reviewers must have read access to the repository"])
    known = forge.state["environments"]
    before = known.get(at["name"], {"id": forge.next_id(), "name": at["name"], "created_at": now()})
    custom = bool(policy and policy["custom_branch_policies"])
    known[at["name"]] = before | {
        "wait_timer": body.get("wait_timer") or 0,
        "prevent_self_review": bool(body.get("prevent_self_review")),
        "reviewers": [ids[reviewer["id"]] for reviewer in reviewers],
        "deployment_branch_policy": policy,
        "policies": before.get("policies", []) if custom else [],
        "secrets": before.get("secrets", {}),
        "updated_at": now(),
    }
    return 200, shown(known[at["name"]])


@route("GET", "/environments/{name}/deployment-branch-policies", "actions:read")
def list_policies(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    found = custom(forge, at["name"])["policies"]
    return 200, {"total_count": len(found), "branch_policies": found}


@route("POST", "/environments/{name}/deployment-branch-policies", "administration:write")
def create_policy(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    found = custom(forge, at["name"])["policies"]
    policy = {"name": text(body, "name"), "type": body.get("type", "branch")}
    if any(policy.items() <= other.items() for other in found):
        raise ApiError(303, "See Other")
    found.append({"id": forge.next_id(), **policy})
    return 200, found[-1]


@route("DELETE", "/environments/{name}/deployment-branch-policies/{id}", "administration:write")
def delete_policy(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    found = custom(forge, at["name"])["policies"]
    found.remove(one(found, "id", at["id"]))
    return 204, None


def environment(forge: Forge, name: str) -> dict[str, Any]:
    return one(forge.state["environments"].values(), "name", name)


def custom(forge: Forge, name: str) -> dict[str, Any]:
    """An environment with branch policies of its own; 404 for any other."""
    found = environment(forge, name)
    if not (found["deployment_branch_policy"] or {}).get("custom_branch_policies"):
        raise ApiError(404, "Not Found")
    return found


def shown(found: dict[str, Any]) -> dict[str, Any]:
    """An environment as the API gives it."""
    rules: list[dict[str, Any]] = []
    if found["wait_timer"]:
        rules.append({"id": 1, "type": "wait_timer", "wait_timer": found["wait_timer"]})
    if found["reviewers"]:
        rule = {"id": 2, "type": "required_reviewers", "reviewers": reviewers(found)}
        rules.append(rule | {"prevent_self_review": found["prevent_self_review"]})
    if found["deployment_branch_policy"]:
        rules.append({"id": 3, "type": "branch_policy"})
    told = ("id", "name", "deployment_branch_policy", "created_at", "updated_at")
    return {name: found[name] for name in told} | {"protection_rules": rules}


def reviewers(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "User", "reviewer": user(login)} for login in found["reviewers"]]


# --- the jobs that wait for their reviewers ---------------------------------------------------------------


@route("GET", "/actions/runs/{id}/pending_deployments", "actions:read")
def list_pending(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """The environments that jobs of a run wait for, each once."""
    run = get_run(forge, at, body)[1]
    return 200, [
        {
            "environment": {"id": found["id"], "name": found["name"]},
            "wait_timer": found["wait_timer"],
            "wait_timer_started_at": None,
            "current_user_can_approve": may_approve(found, run, at["by"]),
            "reviewers": reviewers(found),
        }
        for found in pending(forge, run)
    ]


@route("POST", "/actions/runs/{id}/pending_deployments", "deployments:write")
def review(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """One of the reviewers agrees, or not: all jobs of the run that wait for these environments go on."""
    run = get_run(forge, at, body)[1]
    ids, state, comment = (body.get(name) for name in ("environment_ids", "state", "comment"))
    if not ids or not isinstance(ids, list) or not all(isinstance(number, int) for number in ids):
        raise invalid(field="environment_ids", code="missing_field")
    if state not in (waits.APPROVED, waits.REJECTED):
        raise invalid(field="state", code="invalid")
    if not isinstance(comment, str):
        raise invalid(field="comment", code="missing_field")
    able = [found for found in pending(forge, run) if may_approve(found, run, at["by"])]
    names = [found["name"] for found in able if found["id"] in ids]
    if len(names) < len(set(ids)):
        raise ApiError(422, "Validation Failed", errors=NOTHING_PENDING)
    for job, name in waits.waiting(folder(forge, run)).items():
        if name in names:
            waits.say(folder(forge, run), job, harmless(one_line(f"{state} by {at['by']}: {comment}")))
    about = {"sha": run["head_sha"], "ref": run["head_branch"], "task": "deploy", "payload": {}}
    about |= {"creator": run["triggering_actor"], "created_at": run["created_at"], "updated_at": now()}
    return 200, [{"id": forge.next_id(), "environment": name, **about} for name in names]


def pending(forge: Forge, run: dict[str, Any]) -> list[dict[str, Any]]:
    """The environments that jobs of a run wait for."""
    asked = set(waits.waiting(folder(forge, run)).values())
    return [found for name, found in forge.state["environments"].items() if name in asked]


def may_approve(found: dict[str, Any], run: dict[str, Any], login: str) -> bool:
    own = login == run["triggering_actor"]["login"]
    return login in found["reviewers"] and not (own and found["prevent_self_review"])


def folder(forge: Forge, run: dict[str, Any]) -> Path:
    return forge.folder / "runs" / str(run["id"])


# --- their secrets ----------------------------------------------------------------------------------------


@route("GET", "/environments/{name}/secrets/public-key", "secrets:read")
def get_public_key(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    from nacl.public import PrivateKey

    environment(forge, at["name"])
    seal = forge.state.setdefault("seal", base64.b64encode(bytes(PrivateKey.generate())).decode())
    forge.save()
    public = bytes(PrivateKey(base64.b64decode(seal)).public_key)
    return 200, {"key_id": "1", "key": base64.b64encode(public).decode()}


@route("GET", "/environments/{name}/secrets/{secret}", "secrets:read")
def get_secret(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """That there is one, and since when; never what it is."""
    found = one(environment(forge, at["name"])["secrets"].values(), "name", at["secret"])
    return 200, {name: found[name] for name in ("name", "created_at", "updated_at")}


@route("PUT", "/environments/{name}/secrets/{secret}", "secrets:write")
def put_secret(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """It is opened with this stand-in's own key: what was not sealed to that is refused."""
    from nacl.exceptions import CryptoError
    from nacl.public import PrivateKey, SealedBox

    secrets = environment(forge, at["name"])["secrets"]
    if text(body, "key_id") != "1":
        raise invalid(field="key_id", code="invalid")
    try:
        box = SealedBox(PrivateKey(base64.b64decode(forge.state.get("seal", ""))))
        value = box.decrypt(base64.b64decode(text(body, "encrypted_value"))).decode()
    except (CryptoError, ValueError, TypeError):
        raise ApiError(422, "Bad request - secret could not be decrypted") from None
    before, moment = secrets.get(at["secret"]), now()
    about = {"name": at["secret"], "value": value, "updated_at": moment}
    secrets[at["secret"]] = about | {"created_at": before["created_at"] if before else moment}
    return (204, None) if before else (201, {})


@route("DELETE", "/environments/{name}/secrets/{secret}", "secrets:write")
def delete_secret(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    secrets = environment(forge, at["name"])["secrets"]
    del secrets[one(secrets.values(), "name", at["secret"])["name"]]
    return 204, None


# --- deploy keys ------------------------------------------------------------------------------------------


@route("GET", "/keys", "administration:read")
def list_keys(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    return 200, list(forge.state["keys"].values())


@route("POST", "/keys", "administration:write")
def create_key(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    """A deploy key, by its public half."""
    import asyncssh

    try:
        public = asyncssh.import_public_key(body["key"])
    except (KeyError, ValueError, asyncssh.KeyImportError):
        message = "key is invalid. You must supply a key in OpenSSH public key format"
        raise invalid(field="key", message=message) from None
    if (fingerprint := public.get_fingerprint()) in forge.state["keys"]:
        raise invalid(resource="PublicKey", field="key", code="custom", message="key is already in use")
    key = {"title": body.get("title", ""), "read_only": bool(body.get("read_only")), "id": forge.next_id()}
    line = " ".join(body["key"].split()[:2])  # without the comment, as GitHub has it
    forge.state["keys"][fingerprint] = key | {"key": line, "verified": True, "created_at": now()}
    return 201, forge.state["keys"][fingerprint]


@route("DELETE", "/keys/{id}", "administration:write")
def delete_key(forge: Forge, at: dict[str, Any], body: dict[str, Any]) -> tuple[int, Any]:
    found = one(forge.state["keys"].values(), "id", at["id"])
    forge.state["keys"] = {name: key for name, key in forge.state["keys"].items() if key is not found}
    return 204, None
