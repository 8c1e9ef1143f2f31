"""The settings: every key has a default, and one error lists everything that is refused."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from pydantic import BaseModel

from fraud_retraining.adapters.alerts.pagerduty import PAGERDUTY_VARIABLE
from fraud_retraining.domain.training.windows import window_days
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.orchestration.resources import open_lake
from fraud_retraining.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without settings, in a folder without a file of them."""
    import os

    for name in list(os.environ):
        if name.startswith("FRAUD_RETRAINING_") or name == PAGERDUTY_VARIABLE:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def written(tmp_path: Path, values: Any) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return path


def refused(tmp_path: Path, values: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, values))
    return caught.value


def test_the_shipped_file_names_every_key_with_its_default() -> None:
    shipped = yaml.safe_load((ROOT / "retraining.yaml").read_text())
    assert load_settings(ROOT / "retraining.yaml") == Settings()
    assert _keys(shipped) == _keys(_every_field(Settings()))


def _every_field(value: Any) -> Any:
    """Nested fields as a mapping, also those that a dump leaves out while they hold their default."""
    if isinstance(value, BaseModel):
        return {name: _every_field(getattr(value, name)) for name in type(value).model_fields}
    return {key: _every_field(one) for key, one in value.items()} if isinstance(value, dict) else value


def _keys(values: Any, path: str = "") -> set[str]:
    if not isinstance(values, dict) or not values:
        return {path}
    return {key for name, value in values.items() for key in _keys(value, f"{path}.{name}")}


def test_the_contracts_example_is_obeyed(tmp_path: Path) -> None:
    settings = load_settings(
        written(
            tmp_path,
            """
lake: {uri: s3://payments/fraud/transactions}
columns: {transaction_id: id, timestamp: at, amount: eur, is_fraud: fraud, labelled_at: known}
entities:
  card: {column: card_hash, windows_days: [1, 14]}
features: {numeric: [distance], categorical: [channel], forbidden: [why]}
labels: {delay_days: 5}
window: {strategy: weighted, days: 20, recent_days: 5, recent_weight: 2.5}
gates: {min_average_precision: 0.4, max_regression: 0.02, alert_budget: 50, alert_entity: card}
promotion: {mode: auto, reviewers: [anna], approval_hours: 12}
triggers: {schedule: {every_hours: 24}, drift: {threshold: 0.3, days: [1, 2]}, new_data: null, performance: null}
mlflow: {tracking_uri: null, experiment: mine}
alerts: {slack: {channels: {data: "#d", model: "#m", oncall: "#o"}}, pagerduty: null}
""",
        )
    )
    assert settings.window.days == 20
    assert settings.feature_plan.names[-2:] == ("distance", "channel")
    assert "card_count_14d" in settings.feature_plan.names


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_WINDOW__DAYS", "60")
    monkeypatch.setenv("FRAUD_RETRAINING_LAKE__URI", "s3://bucket/lake")
    settings = load_settings(written(tmp_path, {"window": {"days": 20}, "lake": {"uri": "elsewhere"}}))
    assert (settings.window.days, settings.lake_uri) == (60, "s3://bucket/lake")


def test_a_window_without_a_strategy_is_rolling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_WINDOW__DAYS", "14")
    assert load_settings().window.strategy == "rolling"


def test_every_problem_is_in_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_LAEK__URI", "typo")
    error = refused(tmp_path, {"windw": {}, "holdout": {"days": 0}, "model": {"params": {"depth": 3}}})
    text = "\n".join(error.culprits)
    assert len(error.culprits) == 4
    for culprit in ("FRAUD_RETRAINING_LAEK__URI", "windw: no such key", "holdout.days", "no parameter depth"):
        assert culprit in text


def test_values_that_conflict_are_listed_beside_those_that_are_invalid(tmp_path: Path) -> None:
    values = {"windw": {}, "holdout": {"days": 0}, "gates": {"alert_entity": "card"}, "entities": {"x": {"col": "X"}}}
    text = "\n".join(refused(tmp_path, {**values, "features": {"numeric": ["A", "A"]}}).culprits)
    for culprit in ("windw: no such key", "holdout.days", "entities.x.column"):
        assert culprit in text
    assert "alert_entity" not in text, "the entities are not known, so nothing can be said about references to them"
    text = "\n".join(refused(tmp_path, {"windw": {}, "features": {"numeric": ["A", "A"]}}).culprits)
    assert "windw: no such key" in text
    assert "column A is named twice" in text


EMAIL = {
    "host": "mail.example",
    "sender": "a@b.example",
    "channels": {"data": ["a@b.example"], "model": ["a@b.example"], "oncall": ["a@b.example"]},
}
KEY = "1b8zOFu/TDHC5eDHo25YclZfhZg2TAjwwFKT1kaCe0k="


@pytest.mark.parametrize(
    ("values", "culprit"),
    [
        ({"holdout": {"days": 31}}, "holdout.days (31) is longer than window.days (30)"),
        ({"columns": {"amount": "TX_FRAUD"}}, "column TX_FRAUD is mapped twice: columns.amount and columns.is_fraud"),
        ({"features": {"numeric": ["A"], "categorical": ["A"]}}, "column A is named twice"),
        ({"features": {"numeric": ["TX_FRAUD"]}}, "TX_FRAUD is the label"),
        ({"features": {"numeric": ["TX_AMOUNT"]}}, "TX_AMOUNT is already mapped"),
        ({"features": {"categorical": ["TX_FRAUD_SCENARIO"]}}, "TX_FRAUD_SCENARIO is forbidden"),
        ({"features": {"forbidden": ["TX_AMOUNT"]}}, "columns.amount maps it"),
        ({"features": {"numeric": ["customer_count_7d"]}}, "customer_count_7d has the name"),
        ({"features": {"categorical": ["timestamp"]}}, "timestamp has the name"),
        ({"entities": {"amount": {"column": "X"}}, "gates": {"alert_entity": "amount"}}, "entities.amount"),
        ({"entities": {"card": {"column": "CARD"}}}, "gates.alert_entity is 'customer'"),
        ({"entities": {}}, "no feature looks back on what a customer, card or device did before"),
        ({"entities": {"transaction": {"column": "X"}}}, "entities.transaction"),
        ({"entities": {"customer": {"column": "C"}, "x": {"column": ["C"]}}}, "entities.x have the same column"),
        ({"entities": {"customer": {"column": ["C", "C"]}}}, "column names a column twice"),
        ({"entities": {"customer": {"column": "TX_AMOUNT"}}}, "TX_AMOUNT is mapped twice"),
        ({"features": {"categorical": ["customer"]}}, "give the entity another name, such as customer_key"),
        ({"validation": {"min_fraud_rate": 0.5}}, "min_fraud_rate is above max_fraud_rate"),
        ({"window": {"strategy": "weighted", "days": 5, "recent_days": 9}}, "recent_days (9) is longer"),
        ({"alerts": {"pagerduty": {}}}, f"no {PAGERDUTY_VARIABLE}"),
        ({"alerts": {"email": EMAIL}}, "alerts.email is on, but the environment has no ALERTS_SMTP_PASSWORD"),
        ({"alerts": {"webhook": {"url": "https://h/x"}}}, "no ALERTS_WEBHOOK_SECRET"),
        ({"alerts": {"webhook": {"url": "https://h/x?token=hunter2"}}}, "alerts.webhook.url holds a password"),
        ({"alerts": {"webhook": {"url": "https://h:99999/x"}}}, "alerts.webhook.url: the port has to be"),
        ({"ledger": {"url": "postgresql://ledger:hunter2@db/ledger"}}, "ledger.url holds a password"),
        ({"ledger": {"signers": {"a": {"public_key": KEY}, "b": {"public_key": KEY}}}}, "a and b have the same key"),
        ({"ledger": {"signers": {"a": {"public_key": "hunter2"}}}}, "ledger.signers.a.public_key: not the base64"),
        ({"ledger": {"signers": {"A B": {"public_key": KEY}}}}, "ledger.signers.A B"),
        ({"ledger": {"key_file": "keys/pipeline.pem"}}, "ledger.key_file: not an absolute path"),
        ({"ledger": {"private_key": "hunter2"}}, "ledger.private_key: no such key"),
        ({"gates": {"slices": ["TX_FRAUD_SCENARIO"]}}, "gates.slices names the forbidden column"),
        ({"features": {"retired": ["device_*"]}}, "features.retired names device_*, which is no feature"),
        ({"features": {"retired": ["*"]}}, "features.retired leaves no feature"),
        ({"model": {"trainer": "spark"}}, "model: trainer: spark needs trainer_workers"),
        ({"model": {"trainer": "spark", "trainer_workers": 2}}, "model.trainer: spark needs engine.kind: spark"),
        (
            {"model": {"trainer": "spark", "trainer_workers": 2}, "engine": {"kind": "spark", "master": "local[1]"}},
            "model.trainer_workers: 2 workers run at once, and engine.master local[1] runs 1 tasks",
        ),
    ],
)
def test_what_cannot_go_together_is_refused_by_name(tmp_path: Path, values: Any, culprit: str) -> None:
    error = refused(tmp_path, values)
    assert culprit in "\n".join(error.culprits)
    assert "hunter2" not in str(error)


TWICE = {
    "at the top": "promotion: {require_verified: true}\nlake: {uri: x}\npromotion: {two_person: false}\n",
    "within": "promotion:\n  require_verified: true\n  mode: manual\n  require_verified: false\n",
    "in braces": "promotion: {require_verified: true, require_verified: false}",
    "in quotes": "promotion: {require_verified: true, 'require_verified': false}",
    "in a list": "promotion: {reviewers: [{name: a, os_user: x, name: b}]}",
    "a merge": "lake: &l {uri: x}\nstore:\n  <<: *l\n  <<: *l\n",
}


@pytest.mark.parametrize("text", TWICE.values(), ids=TWICE)
def test_a_key_that_stands_twice_is_refused_with_its_lines(tmp_path: Path, text: str) -> None:
    error = refused(tmp_path, text)
    assert "cannot be read as settings in YAML" in error.what
    assert "stands twice, first in line" in str(error.culprits[0])


def test_a_merged_key_may_be_replaced(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, "lake: &l {uri: s3://a/b}\nstore: {<<: *l, uri: s3://c/d}\n"))
    assert (settings.lake_uri, settings.store_uri) == ("s3://a/b", "s3://c/d")


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "holds more than 100000 values"),
        ("features: {numeric: &a [*a]}", "holds itself"),
        ("[" * 5000, "nested deeper than 40 levels"),
        ("lake: " + "{s3: " * 5000, "nested deeper than 40 levels"),
        ("# " + "x" * 1_000_001, "more than 1,000,000 bytes"),
    ],
    ids=["a billion laughs", "itself", "lists", "mappings", "bytes"],
)
def test_a_file_without_bounds_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert message in str(refused(tmp_path, text).culprits[0])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PROMOTION", '{"require_verified": true, "require_verified": false}', "the key require_verified stands twice"),
        ("PROMOTION", '{"a":' * 100_000, "nested without end"),
        ("LEDGER__URL", "postgresql://ledger:hunter2@db:port/fraud", "ledger.url: the port has to be a number"),
        ("LEDGER__URL", "postgresql://ledger:hunter2@db:70000/fraud", "ledger.url: the port has to be a number"),
        ("LEDGER__URL", "postgresql://ledger:hunter2@[::1/fraud", "the host cannot be read"),
        ("MLFLOW__TRACKING_URI", "http://mlflow:0", "mlflow.tracking_uri: the port has to be a number"),
        ("LAKE__S3__ENDPOINT", "http://minio:x", "lake.s3.endpoint: the port has to be a number"),
    ],
)
def test_what_the_environment_cannot_mean_is_refused_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(f"FRAUD_RETRAINING_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["postgresql://db/fraud?user=l&password=hunter2", "postgresql://db/fraud?sslmode=x&sslpassword=hunter2"],
)
def test_a_password_among_the_parameters_is_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    error = refused(tmp_path, {"ledger": {"url": url}})
    assert "ledger.url holds a password" in str(error)
    assert "hunter2" not in str(error)
    monkeypatch.setenv("FRAUD_RETRAINING_LEDGER__URL", url)
    assert load_settings().ledger_url == url


@pytest.mark.parametrize("text", ["a: [", "- just\n- a list", "\x00"])
def test_a_file_that_is_no_settings_is_refused(tmp_path: Path, text: str) -> None:
    assert str(tmp_path) in refused(tmp_path, text).what


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no settings file"):
        load_settings(tmp_path / "nowhere.yaml")


def test_a_date_that_no_calendar_has_is_a_settings_error(tmp_path: Path) -> None:
    error = refused(tmp_path, "window: {strategy: expanding, start: 2026-02-30}")
    assert "date that no calendar has" in error.what


def test_retired_features_are_made_but_no_new_model_reads_them(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, {"features": {"retired": ["terminal_*", "night"]}}))
    assert "terminal_count_7d" in settings.feature_plan.names
    assert not [name for name in settings.learnt_features if name.startswith("terminal_") or name == "night"]
    assert "customer_count_7d" in settings.learnt_features


@pytest.mark.parametrize(
    "values",
    [
        {"entities": {}, "gates": {"alert_entity": "transaction"}},
        {"gates": {"alert_entity": "transaction"}},
        {"features": {"categorical": ["CUSTOMER_ID"]}},
        {
            "entities": {"customer": {"column": "card1"}, "place": {"column": ["card1", "addr1"], "nullable": True}},
            "features": {"categorical": ["card1"], "numeric": ["addr1"]},
        },
    ],
    ids=["no entities", "alerts about transactions", "a key as category", "keys that share a column"],
)
def test_keys_as_lakes_have_them_are_accepted(tmp_path: Path, values: Any) -> None:
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(values))
    settings = load_settings(tmp_path / "settings.yaml")
    assert settings.mapping and settings.feature_plan


@pytest.mark.parametrize(
    ("given", "use", "holdout", "lag"),
    [
        pytest.param({}, "mature", 7, 7, id="by default"),
        pytest.param({"labels": {"use": "as_known"}}, "mature", 7, 7, id="no label times: mature"),
        pytest.param({"labels": {"uri": "/feed"}}, "as_known", 3, 0, id="a feed"),
        pytest.param({"labels": {"uri": "/feed", "use": None}, "holdout": {"days": None}}, "as_known", 3, 0, id="null"),
        pytest.param({"labels": {"use": "as_known", "uri": "/feed"}}, "as_known", 3, 0, id="a feed, as known"),
        pytest.param({"columns": {"labelled_at": "AT"}}, "as_known", 3, 0, id="a column"),
        pytest.param(
            {"columns": {"labelled_at": "AT"}, "labels": {"use": "mature"}}, "mature", 7, 7, id="a column, mature"
        ),
        pytest.param(
            {"labels": {"use": "as_known", "uri": "/feed"}, "holdout": {"days": 5}}, "as_known", 5, 0, id="own holdout"
        ),
        pytest.param(
            {"labels": {"use": "as_known", "uri": "/feed"}, "judging": "mature"}, "as_known", 7, 7, id="judged mature"
        ),
    ],
)
def test_labels_are_used_as_known_where_their_times_are_known(
    given: dict[str, object], use: str, holdout: int, lag: int
):
    found = Settings(**given)
    assert (found.labels.use, found.holdout.days, found.window_labels.lag_days) == (use, holdout, lag)


@pytest.mark.parametrize(
    ("values", "days"),
    [({}, 14), ({"labels": {"use": "as_known", "uri": "feed"}}, 3), ({"holdout": {"days": 4}}, 11)],
    ids=["mature", "as known", "a shorter holdout"],
)
def test_days_are_learnt_from_the_as_of_day_that_triggers_promise(tmp_path: Path, values: Any, days: int) -> None:
    settings = load_settings(written(tmp_path, {"lake": {"uri": "lake"}, **values}))
    assert settings.learns_after_days == days
    day, window = date(2026, 3, 1), (settings.window, settings.holdout, settings.window_labels)
    assert day in window_days(day + timedelta(days=days), *window).training
    assert day not in window_days(day + timedelta(days=days - 1), *window).training


def test_a_second_fit_needs_days_after_the_holdout(tmp_path: Path) -> None:
    feed = {"labels": {"use": "as_known", "uri": "feed"}, "window": {"refit": {"enabled": True}}}
    assert "set judging: mature" in str(refused(tmp_path, feed))
    assert load_settings(written(tmp_path, {**feed, "judging": "mature"})).window.refit.enabled


FEED = {"labels": {"uri": "/feed"}}
OWN = {
    "entities": {"card": {"column": "CARD"}, "shop": {"column": "SHOP", "fraud_share": True}},
    "gates": {"alert_entity": "card"},
}
SILENT = {"entities": {"card": {"column": "CARD", "fraud_share": False}}, "gates": {"alert_entity": "card"}}


@pytest.mark.parametrize(
    ("values", "labelled"),
    [
        ({}, ["terminal"]),
        (FEED, ["customer", "terminal"]),
        (OWN, ["shop"]),
        ({**OWN, **FEED}, ["card", "shop"]),
        ({**SILENT, **FEED}, []),
    ],
)
def test_with_labels_as_known_every_entity_has_label_features_unless_it_says_no(
    tmp_path: Path, values: dict[str, Any], labelled: list[str]
):
    settings = load_settings(written(tmp_path, values))
    assert [name for name, one in settings.feature_plan.entities.items() if one.fraud_share] == labelled
    topics = settings.feature_plan.topics.values()
    assert {topic for topic in topics if topic.endswith("_labels")} == {f"{name}_labels" for name in labelled}
    # The other use of labels is compared on the same transactions.
    if values.get("labels"):
        other = settings.with_overrides({"labels": {"use": "mature", "uri": None}})
        assert other.mapping.entities == settings.mapping.entities
        assert not {"card", "customer"} & {name for name, one in other.feature_plan.entities.items() if one.fraud_share}


def test_a_feed_without_use_as_known_and_a_lake_without_any_label_are_refused(tmp_path: Path):
    for text, words in (
        ("labels: {uri: /feed, use: mature}", "set use: as_known"),
        ("columns: {is_fraud: null}", "columns.is_fraud is null"),
        ("columns: {propensity: P}", "says nothing without columns.decision"),
        ("labels: {blocked: {control_decisions: [hold], control_share: 0.1}}", "needs columns.decision"),
        (
            "columns: {decision: D, propensity: P}\nlabels: {blocked: {control_decisions: [h], control_share: 0.1}}",
            "both give the propensity",
        ),
        ("labels: {blocked: {control_share: 0.1}}", "given together"),
        ("labels: {blocked: {decisions: [Block], control_decisions: [block], control_share: 0.1}}", "both list block"),
        ("labels: {blocked: {decisions: [' ']}}", "an empty decision"),
        ("columns: {decision: D}\nfeatures: {categorical: [D]}", "cannot be a further feature"),
        ("labels: {uri: /feed}\ncolumns: {labelled_at: AT}", "keep one of them"),
    ):
        path = tmp_path / "settings.yaml"
        path.write_text(text)
        with pytest.raises(SettingsError, match=words):
            load_settings(path)


class TestTableOfAthena:
    TABLE: ClassVar[dict[str, str]] = {"database": "payments", "table": "tx", "output": "s3://bucket/out"}

    def test_its_keys_stand_beside_the_kind_or_below_it(self, tmp_path: Path) -> None:
        beside = load_settings(written(tmp_path, {"lake": {"kind": "athena", **self.TABLE}}))
        below = load_settings(written(tmp_path, {"lake": {"kind": "athena", "athena": self.TABLE}}))
        assert beside.lake == below.lake
        assert beside.lake_uri == "athena://payments.tx"

    @pytest.mark.parametrize(
        ("lake", "said"),
        [
            ({"kind": "athena"}, "needs kind: athena"),
            ({"kind": "athena", "database": "payments", "table": "tx"}, "output"),
            (TABLE, "needs kind: athena"),
            ({"kind": "athena", "uri": "lake", **TABLE}, "leave out uri"),
            ({"kind": "athena", **TABLE, "output": "/folder"}, "output"),
            ({"kind": "athena", **TABLE, "tabel": "tx"}, "tabel"),
        ],
    )
    def test_what_is_missing_or_too_much_is_named(self, tmp_path: Path, lake: dict[str, str], said: str) -> None:
        assert said in str(refused(tmp_path, {"lake": lake}))

    def test_the_environment_names_it_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {"kind": "athena", **self.TABLE}.items():
            monkeypatch.setenv(f"FRAUD_RETRAINING_LAKE__{name.upper()}", value)
        assert load_settings(written(tmp_path, {})).lake_uri == "athena://payments.tx"

    def test_a_feed_in_a_table_needs_a_lake_that_says_how_to_query_it(self, tmp_path: Path) -> None:
        feed = {"uri": "athena://payments.labels"}
        settings = load_settings(written(tmp_path, {"lake": {"kind": "athena", **self.TABLE}, "labels": feed}))
        found = open_lake(settings).label_feed
        assert found is not None
        assert found.uri == "athena://payments.labels"
        with pytest.raises(SettingsError, match="nothing says how to query it"):
            open_lake(load_settings(written(tmp_path, {"labels": feed})))


class TestSubmittedJobs:
    JOB: ClassVar[dict[str, str]] = {"kind": "glue", "job": "days", "bucket": "messages"}
    EMR: ClassVar[dict[str, str]] = {
        "kind": "emr_serverless",
        "application": "00f1",
        "role": "arn:aws:iam::1:role/days",
        "entry_point": "s3://code/days_job.py",
        "bucket": "messages",
    }
    ON_S3: ClassVar[dict[str, Any]] = {"lake": {"uri": "s3://lake"}, "store": {"uri": "s3://store"}}

    @pytest.mark.parametrize("job", [JOB, EMR])
    def test_they_need_spark_and_places_that_a_job_reaches(self, tmp_path: Path, job: dict[str, str]) -> None:
        engine = {"engine": {"kind": "spark", "submit": job}}
        assert load_settings(written(tmp_path, {**self.ON_S3, **engine})).engine.submit is not None
        said = str(refused(tmp_path, {**engine, "lake": {"uri": "/lake", "s3": {"profile": "mine"}}}))
        assert "needs lake.uri on S3, and it is /lake" in said
        assert "needs store.uri on S3" in said
        assert "unset lake.s3.profile" in said
        assert "set engine.kind: spark" in str(refused(tmp_path, {**self.ON_S3, "engine": {"submit": job}}))
        fitted = {"model": {"trainer": "spark", "trainer_workers": 2}}
        assert "set model.trainer: local" in str(refused(tmp_path, {**self.ON_S3, **engine, **fitted}))

    @pytest.mark.parametrize(
        ("job", "said"),
        [
            ({**JOB, "kind": "emr"}, "emr_serverless"),
            ({**JOB, "bucket": "s3://messages"}, "bucket"),
            ({**JOB, "role": "x"}, "role"),
            ({**EMR, "role": "days"}, "role"),
            ({**EMR, "entry_point": "days_job.py"}, "entry_point"),
            ({**EMR, "spark_parameters": "--conf spark.x.password=hunter2"}, "holds a secret"),
        ],
    )
    def test_what_is_missing_or_wrong_is_named(self, tmp_path: Path, job: dict[str, str], said: str) -> None:
        message = str(refused(tmp_path, {**self.ON_S3, "engine": {"kind": "spark", "submit": job}}))
        assert said in message
        assert "hunter2" not in message


# Several models

TWO = """
window: {days: 20}
promotion: {mode: manual, reviewers: [ann]}
model: {params: {max_depth: 5}}
models:
  - {name: small, where: {TX_AMOUNT: {below: 50}}, window: {days: 10}, promotion: {mode: auto}}
  - {name: large, where: {CHANNEL: [web, null]}, judging: mature, model: {estimator: logistic_regression}}
"""


def test_each_model_has_the_settings_of_all_with_its_own_laid_over_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_WINDOW__DAYS", "30")
    settings = load_settings(written(tmp_path, TWO))
    small, large = settings.each_model()
    assert settings.model_names == ("small", "large")
    assert [one.window.days for one in (settings, small, large)] == [30, 10, 30]
    assert (small.promotion.mode, small.promotion.reviewers) == ("auto", settings.promotion.reviewers)
    assert (small.model.name, small.model.params) == ("small", {"max_depth": 5})
    # Parameters of another estimator do not fit it.
    assert (large.model.estimator, large.model.params, large.judging) == ("logistic_regression", {}, "mature")
    assert [one.mlflow.experiment for one in (small, large)] == ["fraud-retraining/small", "fraud-retraining/large"]
    assert [one.recorded_as for one in (settings, small, large)] == ["shared", "small", "large"]


def test_a_model_that_there_is_not_has_no_settings(tmp_path: Path) -> None:
    several, single = load_settings(written(tmp_path, TWO)), Settings.model_validate({"model": {"name": "cards"}})
    assert several.of_model("shared") is several is several.of_model("small").of_model("shared")
    assert single.of_model("cards") is single
    for settings, name in ((several, "gone"), (several, several.model.name), (single, "small")):
        with pytest.raises(SettingsError, match=f"there is no model {name}"):
            settings.of_model(name)


def test_days_are_the_same_for_all_models_and_hold_the_columns_that_tell_segments_apart(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, TWO))
    small, large = settings.each_model()
    assert settings.slice_columns == ("CHANNEL",)
    assert small.mapping == large.mapping == settings.mapping
    assert small.feature_plan == large.feature_plan == settings.feature_plan
    assert list(small.segment_where) == ["amount"]
    assert list(large.segment_where) == ["CHANNEL"]


def test_columns_that_single_models_alone_ask_for_are_known_with_the_settings_that_do(tmp_path: Path) -> None:
    named = "models: [{name: a, where: {CUNTRY: FR}}, {name: b, where: {CITY: x}, gates: {slices: [CITY, KIND]}}]"
    settings = load_settings(written(tmp_path, named))
    assert settings.mapping.asked_by == {
        "CITY": ("models.b.where", "models.b.gates.slices"),
        "KIND": ("models.b.gates.slices",),
        "CUNTRY": ("models.a.where",),
    }
    assert settings.of_model("a").own_columns == {"CUNTRY": "models.a.where"}
    assert list(settings.of_model("b").own_columns) == ["CITY", "KIND"]
    assert settings.own_columns == {}
    # The days of a lake are what they were: only messages know who asks for a column.
    assert "asked_by" not in settings.mapping.model_dump()
    # A slice of all models is a column that every day must have.
    shared = load_settings(written(tmp_path, f"gates: {{slices: [CITY]}}\n{named}"))
    assert "CITY" not in shared.mapping.asked_by


def test_a_model_stays_one_of_several_when_its_settings_are_replaced(tmp_path: Path) -> None:
    small, _ = load_settings(written(tmp_path, TWO)).each_model()
    for changed in (small.with_overrides({"window": {"days": 5}}), small.model_copy(update={"judging": "mature"})):
        assert changed.segment == "small"
        assert changed.mapping == small.mapping


def test_one_model_is_what_it_was(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, "model: {name: cards}"))
    assert settings.each_model() == (settings,)
    assert settings.shared is settings
    assert (settings.segment, settings.recorded_as, settings.model_names) == ("", "cards", ("cards",))
    assert "where" not in settings.model.model_dump()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("models: [{name: a, window: {days: 0}}]", "models.a: window.rolling.days: "),
        ("models: [{name: a, gates: {nonsense: 1}}]", "models.a: gates.nonsense: no such key"),
        ("models: [{name: a, gates: {slices: 5}}]", "models.a: gates.slices: "),
        ("models: [{name: a, gates: {slices: [[x]]}}]", "models.a: gates.slices."),
        ("models: [{name: a}, {name: A}]", "models: 2 models have the name a"),
        ("models: [{name: shared}]", "models: shared is what all models have in common"),
        ("models: [{name: a, where: {TX_FRAUD: 1}}]", "models.a: where.TX_FRAUD: the column is no property"),
        ("models: [{name: a, where: {COUNTRY: {below: 1}}}]", "models.a: where.COUNTRY: a range needs numbers"),
        ("models: [{name: a, where: {TX_AMOUNT: ['5', low]}}]", "models.a: where.TX_AMOUNT: the column holds numbers"),
        ("models: [{name: a, store: {uri: x}}]", "a: store: all models share it"),
        ("model: {where: {COUNTRY: DE}}", "model.where: stands in an entry of models"),
    ],
)
def test_a_model_that_cannot_be_is_refused_by_its_name(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(written(tmp_path, text))
    assert problem in str(refused.value)
