"""The kinds of answers: one module each, and `task` says what is asked of them."""

from pipelines.core.contract import Contract
from pipelines.core.tasks.binary import BINARY
from pipelines.core.tasks.multiclass import Multiclass
from pipelines.core.tasks.regression import Regression
from pipelines.core.tasks.task import Task


def of(contract: Contract) -> Task:
    """The task that follows from the label's column."""
    if contract.label.type == "flag":
        return BINARY
    return (Multiclass if contract.label.type == "category" else Regression)(contract.label)
