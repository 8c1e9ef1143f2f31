"""The examples of a gate and of a trigger in CONTRIBUTING.md do what the text beside them says."""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from fraud_retraining.domain.evaluation import gates
from fraud_retraining.domain.retraining.triggers import registry, values
from fraud_retraining.domain.retraining.triggers.decision import decide
from fraud_retraining.domain.values import base
from fraud_retraining_tests.support.approvals_fixture import an_evaluation
from fraud_retraining_tests.support.trigger_inputs import LAST, LATE

TEXT = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
READY = date(2024, 2, 28)


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    """An example registers itself; afterwards all is as before."""
    kept = {id(one): (one, dict(one)) for one in (gates.GATES, registry.TRIGGERS)}
    yield
    for one, before in kept.values():
        one.clear()
        one.update(before)


def example(section: str, *modules: Any) -> dict[str, Any]:
    """What the example of a section defines, run where the names of these modules are known."""
    (code,) = re.findall(r"^```python\n(.*?)^```", SECTIONS[section], re.MULTILINE | re.DOTALL)
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


def test_the_trigger_of_the_example_asks_for_a_retrain() -> None:
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
