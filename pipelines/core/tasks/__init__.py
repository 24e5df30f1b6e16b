"""The kinds of answers: one module each, and `task` says what is asked of them."""

from pipelines.core.contract import Contract
from pipelines.core.tasks.binary import BINARY
from pipelines.core.tasks.regression import Regression
from pipelines.core.tasks.task import Task


def of(contract: Contract) -> Task:
    """The task that follows from the label's column."""
    return BINARY if contract.label.type == "flag" else Regression(contract.label)
