"""The examples in CONTRIBUTING.md do what the text beside them says."""

import re
import sys
from collections.abc import Iterator
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from fraud_retraining.domain.evaluation import gates
from fraud_retraining.domain.features import definitions
from fraud_retraining.domain.retraining.triggers import registry, values
from fraud_retraining.domain.retraining.triggers.decision import decide
from fraud_retraining.domain.training.estimators.registry import ESTIMATORS
from fraud_retraining.domain.values import base
from fraud_retraining.orchestration.resources import open_registry
from fraud_retraining.settings import Settings as AllSettings
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.approvals_fixture import an_evaluation
from fraud_retraining_tests.support.command_line import champion, run
from fraud_retraining_tests.support.older_home import AS_OF, TINY, write_lake
from fraud_retraining_tests.support.project_homes import ProjectHome, use_home
from fraud_retraining_tests.support.trigger_inputs import LAST, LATE

TEXT = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
READY = date(2024, 2, 28)


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    """An example registers itself; afterwards all is as before."""
    kept = {id(one): (one, dict(one)) for one in (gates.GATES, registry.TRIGGERS, ESTIMATORS)}
    yield
    for one, before in kept.values():
        one.clear()
        one.update(before)


def blocks(section: str) -> list[str]:
    """The Python code in a section."""
    return re.findall(r"^```python\n(.*?)^```", SECTIONS[section], re.MULTILINE | re.DOTALL)


def example(section: str, *modules: Any) -> dict[str, Any]:
    """What the example of a section defines, run where the names of these modules are known."""
    (code,) = blocks(section)
    names = {name: value for module in modules for name, value in vars(module).items() if not name.startswith("__")}
    names["__name__"] = __name__
    exec(code, names)
    return names


def with_rows(rows: int) -> gates.Evidence:
    evidence = an_evaluation("f", READY).evidence
    return evidence.model_copy(update={"candidate": evidence.candidate.model_copy(update={"rows": rows})})


@pytest.mark.parametrize(("rows", "passed"), [(1000, True), (999, False)])
def test_the_gate_of_the_example_judges_every_candidate(rows: int, passed: bool) -> None:
    example("Add a gate", gates)
    result = gates.judge(gates.GatePolicy(), with_rows(rows)).gates[-1]
    assert (result.name, result.passed) == ("enough_rows", passed)
    assert result.message == f"The holdout has {rows:,} rows; 1,000 are needed."


def test_the_trigger_of_the_example_requests_a_retrain() -> None:
    added = example("Add a trigger", values, base, registry)

    class Settings(registry.TriggerPolicy):
        disputes: Any = added["DisputesPolicy"]()

    class Known(registry.TriggerInputs, added["DisputesInputs"]):
        pass

    policy = Settings(schedule=None, drift=None)
    known = Known(now=LATE, ready={READY: "abc"}, last_as_of=LAST, disputed=0.02)
    wanted = decide(policy, known)
    assert isinstance(wanted, values.Retrain)
    assert (wanted.triggers, wanted.as_of, wanted.reason) == (("disputes",), READY, "disputes: 2.0% of payments")
    calm = decide(policy, known.model_copy(update={"disputed": 0.01}))
    assert calm == values.Skip(reason="disputes: 1.0% of payments, up to 1.0% are accepted")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectHome:
    """A lake of two weeks, and settings under which a model serves after one retrain."""
    project = ProjectHome(tmp_path)
    write_lake(project)
    project.configure(**TINY)
    use_home(project, monkeypatch)
    return project


@pytest.mark.slow
def test_the_feature_of_the_example_is_learned_from(tiny: ProjectHome, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("Add a feature")
    row = eval(code, {"Feature": definitions.Feature})
    monkeypatch.setattr(definitions, "ENTITY_FEATURES", (*definitions.ENTITY_FEATURES, row))
    code, answer, _ = run("retrain", "--as-of", str(AS_OF))
    assert (code, answer["status"]) == (0, "promoted"), answer
    serving = open_registry(load_settings()).champion()
    assert serving is not None
    model = open_registry(load_settings()).load(serving.run_id, expected_digest=serving.artifact_digest)
    added = {f"customer_amount_over_mean_{days}d" for days in (1, 2)}
    assert added <= set(model.features)
    assert all(model.importance()[name] > 0 for name in added)


@pytest.mark.slow
def test_the_estimator_of_the_example_is_accepted_trained_saved_loaded_and_serves(
    tiny: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    with pytest.raises(ValueError, match="there is no estimator 'decision_tree'; there are xgboost, lightgbm"):
        AllSettings(model={"estimator": "decision_tree"})
    file, row = blocks("Add an estimator")
    (tmp_path / "decision_tree.py").write_text(file)
    monkeypatch.syspath_prepend(tmp_path)
    exec(row, {"ESTIMATORS": ESTIMATORS, "DecisionTree": import_module("decision_tree").DecisionTree})
    settings = yaml.safe_load(tiny.config.read_text())
    model_settings = {"estimator": "decision_tree", "params": {"max_depth": 5}}
    tiny.config.write_text(yaml.safe_dump({**settings, "model": model_settings}))
    code, answer, _ = run("retrain", "--as-of", str(AS_OF))
    assert (code, answer["status"], answer["model_version"]) == (0, "promoted", 1), answer
    assert champion() is not None
    registry = open_registry(load_settings())
    serving = registry.champion()
    assert serving is not None
    model = registry.load(serving.run_id, expected_digest=serving.artifact_digest)
    assert (model.estimator, model.params["max_depth"]) == ("decision_tree", 5)
    with registry.served(expected_digest=serving.artifact_digest) as folder:
        loaded = mlflow.pyfunc.load_model(str(folder))
        rows = loaded.metadata.load_input_example(str(folder))
        scores = list(loaded.predict(rows)["fraud_probability"])
    assert scores == list(model.predict(rows))
    del sys.modules["decision_tree"]
