"""reference.json: what production is compared with, of the rows that a model was trained on."""

from pipelines.artifacts.file import Artifact, Closed, Day
from pipelines.core import stats


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
    """The skill of a model of the months before, against always saying the label rate of these."""

    month: str
    rows: int
    label_rate: float
    brier_skill: float


class Reference(Artifact):
    """All of reference.json: first and last day, the features, the skills of the newest months."""

    NAME = "reference.json"
    WRITER = "`ml stage train`"
    WAY_OUT = "release the model again"

    first: Day
    last: Day
    rows: int
    label_rate: float
    features: tuple[Feature, ...]
    brier_skill: tuple[Skill, ...]

    @property
    def named(self) -> dict[str, Feature]:
        """The features by name."""
        return {feature.name: feature for feature in self.features}
