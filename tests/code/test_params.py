"""params.yaml: a typo is one sentence that names the key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.base.errors import UserError
from pipelines.core.params import edited, load, parse
from tests.problems.parcels import PARAMS_FILE


@pytest.fixture
def value() -> dict[str, Any]:
    return yaml.safe_load(PARAMS_FILE.read_text())


def test_a_whole_file_is_accepted(value: dict[str, Any]) -> None:
    assert parse(value) == load(PARAMS_FILE)


def test_threshold_follows_from_the_costs(value: dict[str, Any]) -> None:
    value["decision"] = {"false_alarm": 1.0, "miss": 4.0}
    assert parse(value).decision.threshold == 0.2


@pytest.mark.parametrize(
    ("section", "key", "wrong", "said"),
    [
        (
            "train",
            "sede",
            7,
            "params.yaml: train.sede is not a known key; the keys of train are first, last, seed",
        ),
        ("train", "seed", "seven", "params.yaml: train.seed is 'seven', but input should be a valid integer"),
        ("train", "seed", 7.5, "params.yaml: train.seed is 7.5, but"),
        ("train", "seed", 10**999, "params.yaml: train.seed has more than 64 bits: write a smaller number"),
        (
            "rollout",
            "canary",
            [{"share": 1 << 40_000, "seconds": 1.0}],
            "params.yaml: rollout.canary.0.share is a number of thousands of digits, but",
        ),
        ("data", "through", "2013-13", "params.yaml: data.through: the calendar has no month 2013-13"),
        ("data", "through", "2013-05", "data.first <= train.first <= train.last < data.through"),
        ("train", "first", "2013-06", "data.first <= train.first <= train.last < data.through"),
        ("decision", "miss", 0, "params.yaml: decision.miss is 0, but input should be greater than 0"),
        ("gate", "days", 3, "params.yaml: gate.days is 3, but"),
        (
            "rollout",
            "canary",
            [{"share": 10.0, "secs": 60}],
            "params.yaml: rollout.canary.0.secs is not a known key; the keys of rollout.canary.0 are share",
        ),
        (
            "rollout",
            "shadow",
            {"environments": ["prod"]},
            "params.yaml: rollout.shadow.environments.0 is 'prod', but input should be 'staging' or",
        ),
    ],
)
def test_a_wrong_value_is_one_sentence_with_its_key(
    value: dict[str, Any], section: str, key: str, wrong: object, said: str
) -> None:
    value[section][key] = wrong
    with pytest.raises(UserError) as error:
        parse(value)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_section_is_named(value: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"params\.yaml: trian is not a known key; the keys are data, train"):
        parse(value | {"trian": {}})


def test_a_missing_key_is_named(value: dict[str, Any]) -> None:
    del value["train"]["seed"]
    with pytest.raises(UserError, match=r"params\.yaml: train\.seed is missing"):
        parse(value)


def test_a_missing_file_and_broken_yaml_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("data: [1\n")
    with pytest.raises(UserError, match="is not valid YAML"):
        load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("- 1\n")
    with pytest.raises(UserError, match="must be a mapping"):
        load(tmp_path / "params.yaml")
    for text, said in (
        (f"a: 1\nb: {'9' * 5000}\n", ", line 2: a value .* digits"),
        ("a: 2013-02-30\n", ": a value .*day"),
    ):
        (tmp_path / "params.yaml").write_text(text)
        with pytest.raises(UserError, match=rf"params\.yaml{said}.*correct it$"):
            load(tmp_path / "params.yaml")


def test_a_mistyped_key_is_named_rather_than_the_one_that_is_missing(tmp_path: Path) -> None:
    text = PARAMS_FILE.read_text().replace("  days: 28", "  dayz: 28")
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=r"gate\.dayz is not a known key"):
        load(tmp_path / "params.yaml")


@pytest.mark.parametrize("number", [".nan", ".inf"])
def test_no_number_that_is_none_switches_the_gate_off(tmp_path: Path, number: str) -> None:
    text = PARAMS_FILE.read_text().replace("roc_auc: 0.65", f"roc_auc: {number}")
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=r"gate\.floor\.roc_auc"):
        load(tmp_path / "params.yaml")


def test_an_edit_keeps_comments_blank_lines_and_the_way_of_writing() -> None:
    text = PARAMS_FILE.read_text()
    train = yaml.safe_load(text)["train"]
    assert edited(text, {}) == text
    last = list(train["settings"])[-1]
    changed = edited(text, {"train.settings": train["settings"] | {"new_one": 1e-05}, "train.seed": 8})
    assert yaml.safe_load(changed)["train"]["settings"] == train["settings"] | {"new_one": 1e-05}
    old, new = text.splitlines(), changed.splitlines()
    assert [line for line in new if line not in old] == ["  seed: 8", "    new_one: 1.0e-05"]
    assert new[new.index("    new_one: 1.0e-05") + 1].startswith(f"    {last}:")


def test_a_setting_that_goes_takes_nothing_along() -> None:
    text = PARAMS_FILE.read_text()
    settings = yaml.safe_load(text)["train"]["settings"]
    for gone in (next(iter(settings)), list(settings)[-1]):
        kept = {name: value for name, value in settings.items() if name != gone}
        lines = edited(text, {"train.settings": kept}).splitlines()
        assert lines == [line for line in text.splitlines() if not line.startswith(f"    {gone}: ")]


def test_an_edit_that_may_not_be_is_refused() -> None:
    text = PARAMS_FILE.read_text()
    with pytest.raises(UserError, match=r"train\.seed is 'x'"):
        edited(text, {"train.seed": "x"})


def test_an_edit_adds_a_section_that_the_file_leaves_out(value: dict[str, Any]) -> None:
    value["rollout"].pop("bake", None)
    del value["train"]["settings"]
    given = {"rollout.bake.seconds": 3.0, "train.settings": {"depth": 2}}
    changed = parse(yaml.safe_load(edited(yaml.safe_dump(value), given)))
    assert (changed.rollout.bake.seconds, changed.train.settings) == (3.0, {"depth": 2})
