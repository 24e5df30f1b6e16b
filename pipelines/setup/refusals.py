"""What GitHub says when it will not, in words that say what to do."""

from pipelines.base.github import Declined

INVALID = "the token is not valid, or expired"
PLANS = "docs/github.md#what-each-plan-enforces"


def by_plan(error: Declined) -> bool:
    """Whether the plan of the repository's owner does not offer this."""
    return (error.status == 403 and "Upgrade to" in error.says) or (
        error.status == 422 and ("billing plan" in error.says or "Upgrade to" in error.says)
    )


def passing(error: Declined) -> bool:
    """Whether the same call may do later: a rate limit, or a fault of GitHub's."""
    return error.status == 429 or error.status >= 500 or (error.status == 403 and "rate limit" in error.says)


def reason(error: Declined) -> str:
    """Why GitHub will not, and the way out."""
    says = error.says
    if error.status == 401:
        return f"{INVALID}: set another GITHUB_TOKEN, or unset it and run `gh auth login`"
    if passing(error):
        return f"GitHub has no time ({error.status} {says}): run the same command again later"
    if "SAML" in says or "SSO" in says:
        return "the organization asks for single sign-on: authorize the token for it, in your own settings"
    if error.status == 403:
        way_out = (
            "an administrator's token, with the rights Administration, Actions, Environments, Secrets and "
        )
        return f"the token may not do this ({says}): give {way_out}Variables to write"
    if error.status == 404:
        return "GitHub has none, or the token may not see it: give an administrator's token"
    if "lready exists" in says or "already_exists" in says:
        return "it was made meanwhile: run the same command again"
    if "eploy keys are disabled" in says:
        way_out = "an owner allows them (the organization's Settings, Deploy keys)"
        return f"the organization forbids deploy keys: {way_out}, then run the same command again"
    if error.status == 409:
        way_out = "an owner allows it (the organization's Settings, Actions, General)"
        return f"the organization forbids it ({says}): {way_out}, then run the same command again"
    return f"GitHub does not take it ({error.status} {says})"
