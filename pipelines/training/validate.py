"""Stage 1: each month of data/ against the contract, with Great Expectations."""

import importlib
import logging
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from pipelines.artifacts.validation import Result, Setting, Validation
from pipelines.base.console import step
from pipelines.base.errors import Refused
from pipelines.core import datafiles, periods
from pipelines.core.contract import Contract
from pipelines.core.params import Params
from pipelines.core.problem import Problem

BUILD = Path("build")
IN_RANGE = 0.999  # sensors do lie: the flights' weather has a wind of 1,048 mph
DAY = "day of {}"
HOLIDAYS = 2  # a month may lack so many days, besides weekdays on which nothing ever happens
SHORT = 7  # days: a shorter period may be empty, as a holiday is
DAILY = 0.85  # the share of its days that the fullest month has where events come every day
SPARSE = 0.5  # else a month needs this share of what half of the months have
WITHOUT, LATER = ("google", "sqlalchemy"), ("altair", "scipy.stats")  # Great Expectations has no need of them


def run(params: Params, problem: Problem, folder: Path = datafiles.DATA, out: Path = BUILD) -> None:
    """Write build/validation.json and, for people, build/data-docs/index.html.

    UserError for a file that cannot be read; Refused for a month that is not what the contract says."""
    names, contract = periods.between(params.data.first, params.data.through), problem.contract
    table = datafiles.read(folder, names[0], names[-1], contract)
    for column in contract.left_out:
        step(
            f"columns.py: {column.name} is known in time and no feature, since its type is {column.type}: "
            "a category, words or a number would be one"
        )
    of_month = {name: table[periods.within(table[contract.time.name], name, name)] for name in names}
    step(f"{len(names)} months against the contract; Great Expectations takes 2 s to start")
    results = expect(of_month, out / "data-docs", contract)
    failed = [result for result in results if not result.success]
    if failed:
        more = f" (and {len(failed) - 1} more: {out}/data-docs/index.html)" if len(failed) > 1 else ""
        raise Refused(sentence(failed[0], folder) + more)
    Validation(results=tuple(results)).write(out)
    step(f"{len(results)} expectations hold; {out}/data-docs/index.html shows them")


def expect(tables: dict[str, pd.DataFrame], docs: Path, contract: Contract) -> list[Result]:
    """What each expectation found in each month, and Data Docs of it all in `docs`."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="great_expectations")
    gx = great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    there = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute())}
    site: Any = {"class_name": "SiteBuilder", "site_index_builder": index, "store_backend": there}
    for name in list(context.variables.data_docs_sites or {}):
        context.delete_data_docs_site(name)
    context.add_data_docs_site(site_name="contract", site_config=site)
    batch = (
        context.data_sources.add_pandas("months")
        .add_dataframe_asset("data")
        .add_batch_definition_whole_dataframe("month")
    )
    found = context.suites.add(suite(contract))
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(name=contract.name, data=batch, suite=found)
    )
    results: list[Result] = []
    least = least_days({month: table[contract.time.name] for month, table in tables.items()})
    for month, table in tables.items():
        time = table[contract.time.name]
        day = {DAY.format(contract.time.name): time.dt.date.astype(str)}
        checked = definition.run(
            batch_parameters={"dataframe": table.assign(**day)},
            expectation_parameters={"days": least[month]},
            result_format="BASIC",
            run_id=gx.RunIdentifier(run_name=month),
        )
        # The table's own expectations first: a lost column makes others fail too.
        plain = (_plain(month, result) for result in checked.results)
        results += sorted(plain, key=lambda result: result.setting.column is not None)
    context.build_data_docs()
    return results


def great_expectations() -> Any:
    """The package, without the imports that take longer than its own, for data and expectations of others."""
    absent = [name for name in WITHOUT if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # so Python says that it is not there
    for name in LATER:
        sys.modules.setdefault(name, _Later(name))
    try:
        return importlib.import_module("great_expectations")
    finally:
        for name in absent:
            del sys.modules[name]


class _Later(ModuleType):
    """A module that is imported when something is asked of it (LazyLoader of Python 3.11 does so at once)."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python asks of each module
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def suite(contract: Contract) -> Any:
    """The contract, as a suite of expectations on the rows of a month."""
    import great_expectations as gx
    from great_expectations import expectations as gxe

    day = DAY.format(contract.time.name)
    made: list[Any] = [
        gxe.ExpectTableColumnsToMatchOrderedList(column_list=[*(c.name for c in contract.raw), day]),
        gxe.ExpectColumnValuesToBeUnique(column=contract.key.name),
        gxe.ExpectColumnUniqueValueCountToBeBetween(column=day, min_value={"$PARAMETER": "days"}),
    ]
    kinds = {"time": ["datetime64", "datetime64[us]", "datetime64[ns]"], "number": ["float64"]}
    for column in contract.raw:
        if types := kinds.get(column.type):
            made.append(gxe.ExpectColumnValuesToBeInTypeList(column=column.name, type_list=types))
        if column.minimum is not None or column.maximum is not None:
            ends: dict[str, Any] = {"min_value": column.minimum, "max_value": column.maximum}
            made.append(gxe.ExpectColumnValuesToBeBetween(column=column.name, mostly=IN_RANGE, **ends))
        if column.label and column.values:
            made.append(gxe.ExpectColumnValuesToBeInSet(column=column.name, value_set=list(column.values)))
        made.append(gxe.ExpectColumnValuesToNotBeNull(column=column.name, mostly=1 - column.missing))
    return gx.ExpectationSuite(name=contract.name, expectations=made)


def least_days(times: dict[str, pd.Series]) -> dict[str, int]:
    """On how many days each month must have rows, judged by all months together.

    Where events come every day, or on each of some weekdays, a month may lack HOLIDAYS of those days. Rarer
    events have days of their own choice, so a month is only held against the other months."""
    calendar = pd.DatetimeIndex([day for month in times if len(times[month]) for day in _days_of(month)])
    seen = pd.DatetimeIndex(pd.concat(list(times.values())).dt.normalize().unique())
    # A weekday counts where it mostly has events: one Saturday of the year asks for no others.
    weekdays = [d for d in range(7) if (seen.dayofweek == d).sum() > (calendar.dayofweek == d).sum() / 2]
    whole = {month: int(_days_of(month).dayofweek.isin(weekdays).sum()) for month in times}
    found = {month: int(time.dt.normalize().nunique()) for month, time in times.items()}
    if weekdays and max(found[month] / whole[month] for month in times) >= DAILY:
        return {month: max(whole[month] - HOLIDAYS, 0 if whole[month] < SHORT else 1) for month in times}
    sparse = int(SPARSE * sorted(found.values())[len(found) // 2])
    return {month: max(sparse, 0 if len(_days_of(month)) < SHORT else 1) for month in times}


def _days_of(month: str) -> pd.DatetimeIndex:
    return pd.date_range(periods.start(month), periods.end(month), inclusive="left")


def _plain(month: str, result: Any) -> Result:
    """A result of Great Expectations, without what changes from run to run."""
    asked = result.expectation_config.kwargs.items()
    setting = Setting(**{key: value for key, value in asked if key in Setting.model_fields})
    found = result.result or {}
    observed = found.get("observed_value")
    if observed is None and "unexpected_percent" in found:
        observed = round(float(found["unexpected_percent"] or 0) / 100, 6)
    return Result(
        month=month,
        expectation=result.expectation_config.type,
        setting=setting,
        success=bool(result.success),
        observed=observed,
        examples=tuple(str(value) for value in (found.get("partial_unexpected_list") or [])[:3]),
    )


def sentence(result: Result, folder: Path) -> str:
    """A failed expectation in one sentence: file, column, what was expected and what was found."""
    setting, observed = result.setting, result.observed
    examples = f", such as {', '.join(result.examples)}" if result.examples else ""
    share = f"found {observed}"
    if isinstance(observed, float):
        share = f"{observed:.1%} of the values are not{examples}"
    words = {
        "expect_table_columns_to_match_ordered_list": "to be those of columns.py, in that order",
        "expect_column_values_to_be_in_type_list": "to be of the type {type_list}",
        "expect_column_values_to_be_between": "to be from {min_value} to {max_value}",
        "expect_column_values_to_be_in_set": "to be one of {value_set}",
        "expect_column_values_to_not_be_null": "to be there in {mostly:.1%} of the rows",
        "expect_column_values_to_be_unique": "to be unique",
        "expect_column_unique_value_count_to_be_between": "to have rows on {min_value} days or more",
    }
    wanted = words.get(result.expectation, result.expectation).format(**setting.model_dump())
    where = f"{datafiles.path(folder, result.month)}: expected {setting.column or 'the columns'}"
    return f"{where} {wanted}; {share}"
