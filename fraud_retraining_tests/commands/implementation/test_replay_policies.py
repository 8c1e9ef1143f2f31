"""Policies of a replay as settings: laid over the present ones, and refused by name and key."""

from pathlib import Path

import pytest
import yaml

from fraud_retraining.commands.implementation.replay_policies import PolicySettings, fitting_here, policies_of
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.settings import Settings


def read(tmp_path: Path, settings: Settings | None = None, **policies: object) -> dict[str, PolicySettings]:
    file = tmp_path / "policies.yaml"
    file.write_text(yaml.safe_dump(policies))
    return {one.policy.name: one for one in policies_of(file, settings or Settings())}


def test_a_policy_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    present = Settings(window={"days": 20}, triggers={"drift": None})
    found = read(tmp_path, present, monthly={"triggers": {"schedule": {"every_hours": 720}}})
    monthly = found["monthly"].settings
    assert monthly.triggers.schedule is not None
    assert monthly.triggers.schedule.every_hours == 720
    assert monthly.triggers.drift is None
    assert monthly.window == present.window
    assert found["present settings"].settings is present


def test_a_policy_wins_over_the_environment_whose_values_the_present_settings_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_WINDOW__DAYS", "20")
    found = read(tmp_path, longer={"window": {"days": 60}}, other={"holdout": {"days": 5}})
    assert found["longer"].settings.window.days == 60  # type: ignore[union-attr]
    assert found["other"].settings.window.days == 20  # type: ignore[union-attr]


def test_labels_judged_otherwise_have_the_holdout_that_belongs_to_them(tmp_path: Path) -> None:
    present = Settings(labels={"use": "as_known", "uri": str(tmp_path)})
    named = {"judging": "mature", "holdout": {"days": 3}}
    found = read(tmp_path, present, mature={"judging": "mature"}, named=named)
    assert (present.holdout.days, found["mature"].settings.holdout.days) == (3, 7)
    assert found["named"].settings.holdout.days == 3


def test_a_policy_may_use_labels_otherwise_where_it_is_known_when_they_were(tmp_path: Path) -> None:
    present = Settings(columns={"labelled_at": "LABELLED_AT"})
    found = read(tmp_path, present, mature={"labels": {"use": "mature"}})["mature"].settings
    assert (found.labels.use, found.feature_plan.labels_as_known, found.holdout.days) == ("mature", False, 7)


def test_a_use_of_labels_that_the_lake_does_not_allow_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, Settings(), known={"labels": {"use": "as_known"}})
    assert "known: labels.use: as_known needs to know when labels became known" in refused.value.culprits[0]
    feed = Settings(labels={"uri": str(tmp_path)})
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, feed, mature={"labels": {"use": "mature"}})
    assert "a label feed (uri) says when each label became known" in refused.value.culprits[0]


@pytest.mark.parametrize(
    ("overrides", "culprit"),
    [
        ({"window": {"days": 0}}, "bad: window.rolling.days: Input should be greater than or equal to 1"),
        ({"triggers": {"schedule": {"every_days": 2}}}, "bad: triggers.schedule.every_days: no such key"),
        ({"model": {"params": {"depth": 3}}}, "bad: model: xgboost has no parameter depth"),
    ],
)
def test_a_value_that_no_settings_may_have_is_named_with_policy_and_key(
    tmp_path: Path, overrides: dict[str, object], culprit: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, bad=overrides, good={})
    assert len(refused.value.culprits) == 1
    assert refused.value.culprits[0].startswith(culprit)


@pytest.mark.parametrize(("text", "message"), [("a: [", "cannot be read"), ("a: {}\na: {}\n", "cannot be read")])
def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "policies.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        policies_of(file, Settings())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no file of policies"):
        policies_of(tmp_path / "policies.yaml", Settings())


def test_models_of_a_replay_are_fitted_here_whatever_estimator_a_policy_has(tmp_path: Path) -> None:
    on_spark = {"trainer": "spark", "trainer_workers": 2, "seed": 9}
    settings = Settings(model=on_spark, engine={"kind": "spark", "master": "yarn"})
    here = fitting_here(settings)
    assert (here.model, here.engine) == (Settings(model={"seed": 9}).model, settings.engine)
    found = read(tmp_path, here, linear={"model": {"estimator": "logistic_regression"}})
    assert {one.settings.model.trainer for one in found.values()} == {"local"}
    assert fitting_here(here) is here
