"""A lake whose production blocks: what is trained, judged, counted and said, from the files to the review report."""

from collections.abc import Iterator
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.days.known_labels import KnownLabels
from fraud_retraining.adapters.days.window_rows import WEIGHT, WindowRows
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.review.tables import metrics_grid
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.orchestration.names import TRANSACTIONS
from fraud_retraining.orchestration.resources import open_lake, open_store
from fraud_retraining.orchestration.state.window_assembly import build_window
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import ledger, run
from fraud_retraining_tests.support.project_homes import START, ProjectHome, use_home

DAYS = 17
LAST = START + timedelta(days=DAYS - 1)
SHARE = 0.25


def lake_rows(project: ProjectHome, days: int) -> pa.Table:
    """What the files of the last days say, the truth in TX_FRAUD_SCENARIO included."""
    return pa.concat_tables(project.read_day(LAST - timedelta(days=age)) for age in range(days))


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectHome]:
    """A lake with a label feed of which 3 % are blocked but for a control group, retrained on its last day."""
    project = ProjectHome(tmp_path_factory.mktemp("blocked"))
    project.configure(
        columns={"decision": "DECISION", "propensity": "PROPENSITY"},
        labels={"uri": str(project.folder / "feed"), "min_delay_frauds": 20, "delay_days": 4},
        validation={"min_rows": 3000, "min_holdout_frauds": 3},
        gates={"min_average_precision": 0.01, "max_calibration_error": 50},
    )
    with pytest.MonkeyPatch.context() as patch:
        use_home(project, patch)
        simulated = ["--start", str(START), "--days", str(DAYS), "--transactions-per-day", "1500", "--seed", "4"]
        code, _, err = run(
            "simulate", *simulated, "--labels", "feed", "--block-at", "0.03", "--control-share", str(SHARE)
        )
        assert code == 0, err
        code, answer, err = run("retrain", "--as-of", str(LAST))
        assert answer["status"] == "awaiting_approval", (answer, err)
        yield project


@pytest.mark.slow
def test_what_was_blocked_is_unknown_everywhere_and_the_control_group_stands_for_it(retrained: ProjectHome) -> None:
    settings, store = load_settings(), open_store(load_settings())
    lake = lake_rows(retrained, 4)
    decision = lake["DECISION"].to_pylist()
    blocked, control = decision.count("block"), decision.count("control")

    facts = store.partitions(TRANSACTIONS, [LAST])[LAST].facts["blocked"]
    today = retrained.read_day(LAST)["DECISION"].to_pylist()
    assert (facts["blocked"], facts["control"]) == (today.count("block"), today.count("control"))

    window = build_window(LAST, settings, open_lake(settings), store)
    assert window.holdout_rows == len(decision) - blocked
    known = KnownLabels.of(window, store)
    rows = pa.Table.from_batches(WindowRows(store, window.training, LAST, ["transaction_id"], known)())
    files = [pq.read_table(retrained.day_file(day.day)) for day in window.training]
    decisions = pa.concat_tables(files)
    weights = dict(zip(rows["transaction_id"].to_pylist(), rows[WEIGHT].to_pylist(), strict=True))
    reports = {day.day: window.report_weight(day.day) for day in window.training}
    for number, name in zip(*(decisions[one].to_pylist() for one in ("TRANSACTION_ID", "DECISION")), strict=True):
        assert (number in weights) == (name != "block")
        if name != "block":
            least = 1 / SHARE if name == "control" else 1.0
            assert any(weights[number] == pytest.approx(least * one) for one in (1.0, *reports.values()))

    evaluation = ledger().last(EventKind.MODEL_EVALUATED)
    assert evaluation is not None
    metrics = Evaluation.model_validate(evaluation.payload).evidence.candidate
    selected = metrics.selected
    assert selected is not None
    assert (selected.rows, selected.unknown) == (len(decision), blocked)
    assert selected.represented == pytest.approx(control * (1 / SHARE - 1))
    assert metrics.rows == len(decision) - blocked
    # The control group's known frauds stand for the blocked ones, which naive numbers take for genuine.
    assert selected.effective_frauds < metrics.frauds < metrics.expected_frauds
    assert selected.naive["average_precision"] < metrics.values["average_precision"]
    shown = metrics_grid(metrics)
    assert "if blocked were genuine" in str(shown) and "of equal weight" in str(shown)


@pytest.mark.slow
def test_the_status_and_an_ingest_say_what_stands_for_the_blocked(retrained: ProjectHome) -> None:
    _, answer, _ = run("status")
    assert "transactions were blocked; a control group of" in answer["blocked"]
    assert TrainingWindow.model_validate(ledger().last(EventKind.WINDOW_BUILT).payload).holdout_rows > 0
