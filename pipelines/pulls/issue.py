"""An issue that somebody should look at: one for each matter, open as long as that holds."""

from pipelines.base.github import BOT, GitHub


def keep(github: GitHub, mark: str, title: str, report: str, holds: bool) -> None:
    """Open the issue whose text begins with `mark`, or bring the open one up to date; close it where the
    matter holds no longer. Somebody else's with our mark stays theirs."""
    content = {"title": title, "body": f"{mark}\n{report}"}
    said = [i for i in github.list("/issues?state=open") if (i.get("body") or "").startswith(mark)]
    ours = [i["number"] for i in said if i["user"]["login"] == BOT and "pull_request" not in i]
    if not holds:
        content |= {"state": "closed", "state_reason": "completed"}
    if ours or holds:
        how, where = ("PATCH", f"/issues/{ours[0]}") if ours else ("POST", "/issues")
        issue = github.call(how, where, content)
        print(f"#{issue['number']}, {issue['state']}: {issue['html_url']}")
