"""The estimators that params.yaml may name."""

from collections.abc import Callable

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from tests.problems.heat.columns import CONTRACT

CATEGORIES = [column.name for column in CONTRACT.features if column.type == "category"]
NUMBERS = [column.name for column in CONTRACT.features if column.type != "category"]


def boosted(
    *, seed: int, trees: int = 60, leaf: int = 100, features: float = 1.0, penalty: float = 0.0
) -> Pipeline:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("categories", encoder, CATEGORIES), ("numbers", "passthrough", NUMBERS)])
    return make_pipeline(
        columns,
        HistGradientBoostingRegressor(
            max_iter=trees,
            min_samples_leaf=leaf,
            max_leaf_nodes=8,
            max_features=features,  # of each split, drawn by the seed
            l2_regularization=penalty,
            early_stopping=False,
            random_state=seed,
        ),
    )


def linear(*, seed: int, alpha: float = 1.0) -> Pipeline:
    encoder = OneHotEncoder(handle_unknown="ignore")
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = ColumnTransformer([("categories", encoder, CATEGORIES), ("numbers", numbers, NUMBERS)])
    return make_pipeline(columns, Ridge(alpha=alpha, random_state=seed))


ESTIMATORS: dict[str, Callable[..., Pipeline]] = {"boosted": boosted, "linear": linear}
