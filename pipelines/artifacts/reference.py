"""reference.json: what production is compared with, of the rows that a model was trained on."""

from pydantic import Field

from pipelines.artifacts.file import Artifact, Closed, Day
from pipelines.artifacts.serving import Interval
from pipelines.core import stats

Constant = float | tuple[float, ...]  # what the task says without a model


class Feature(Closed):
    """A feature's bins, the share of each, and the PSI above which it counts as drifted."""

    name: str
    type: str
    edges: tuple[float, ...]
    values: tuple[str, ...]
    frequencies: tuple[float, ...]
    threshold: float

    @property
    def bins(self) -> stats.Bins:
        """What production's values are counted in."""
        return stats.Bins(edges=self.edges, values=self.values)


class Skill(Closed):
    """The skill of a model of the months before, against always saying the constant of these."""

    month: str
    rows: int
    constant: Constant = Field(alias="label_rate")
    skill: float = Field(alias="brier_skill")


class Reference(Artifact):
    """All of reference.json: first and last day, the features, the skills of the newest months, and
    the interval around an answer that follows from how these were answered."""

    NAME = "reference.json"
    WRITER = "`ml stage train`"
    WAY_OUT = "release the model again"

    first: Day
    last: Day
    rows: int
    constant: Constant = Field(alias="label_rate")
    features: tuple[Feature, ...]
    skills: tuple[Skill, ...] = Field(alias="brier_skill")
    interval: Interval | None = Field(default=None, exclude_if=lambda interval: interval is None)

    @property
    def named(self) -> dict[str, Feature]:
        """The features by name."""
        return {feature.name: feature for feature in self.features}
