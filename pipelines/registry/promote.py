"""`ml promote`: what staging wants, production wants too; only the ledger is written."""

from pipelines.artifacts.entry import Entry
from pipelines.base.console import summary
from pipelines.registry import merged
from pipelines.registry.ledger import Ledger


def promote() -> Entry:
    """Have production want what staging wants, where that was merged; returns the new entry."""
    ledger = Ledger()
    entry = ledger.promote(check=lambda entry: merged.require_merged(entry.commit))
    rows = {"wanted": f"`{entry.release}`", "commit": f"`{entry.commit[:12]}`", "ledger": ledger.signature}
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    summary(f"### production\n\n| | |\n| --- | --- |\n{table}\n\nHosts that follow the ledger move there.")
    return entry
