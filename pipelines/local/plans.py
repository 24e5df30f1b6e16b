"""What GitHub offers a repository, by its plan and whether everybody sees it."""

from enum import Enum


class Plan(Enum):
    """`private`, whether rulesets and environments are offered, and required reviewers."""

    PUBLIC = (False, True, True)
    FREE_PRIVATE = (True, False, False)
    PRO_PRIVATE = (True, True, False)
    ENTERPRISE_PRIVATE = (True, True, True)

    def __init__(self, private: bool, rules: bool, reviewers: bool) -> None:
        self.private, self.rules, self.reviewers = private, rules, reviewers
