"""The estimators that params.yaml may name."""

from collections.abc import Callable

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from tests.problems.delay.columns import CONTRACT

CATEGORIES = [column.name for column in CONTRACT.features if column.type == "category"]
NUMBERS = [column.name for column in CONTRACT.features if column.type != "category"]


def boosted(
    *, seed: int, trees: int = 60, leaf: int = 200, features: float = 1.0, penalty: float = 0.0
) -> Pipeline:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("categories", encoder, CATEGORIES), ("numbers", "passthrough", NUMBERS)])
    trees_of_a_class = HistGradientBoostingClassifier(
        max_iter=trees,
        min_samples_leaf=leaf,
        max_leaf_nodes=8,
        learning_rate=0.07,
        max_features=features,  # of each split, drawn by the seed
        l2_regularization=penalty,
        early_stopping=False,
        random_state=seed,
    )
    return make_pipeline(columns, trees_of_a_class)


def linear(*, seed: int, C: float = 1.0) -> Pipeline:
    encoder = OneHotEncoder(handle_unknown="ignore", min_frequency=50)
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = ColumnTransformer([("categories", encoder, CATEGORIES), ("numbers", numbers, NUMBERS)])
    return make_pipeline(columns, LogisticRegression(C=C, max_iter=300, random_state=seed))


ESTIMATORS: dict[str, Callable[..., Pipeline]] = {"boosted": boosted, "linear": linear}
