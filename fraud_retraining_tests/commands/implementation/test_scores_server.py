"""What the process of a scorer sees to beside its requests; those are tested over HTTP (`serving`)."""

import gc
from pathlib import Path

import pytest

from fraud_retraining.commands.implementation.scores_server import following, scorer_of
from fraud_retraining.settings import load_settings


@pytest.mark.parametrize("own_process", [True, False])
def test_what_a_scorer_holds_is_not_looked_through_again(
    own_process: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A collection of everything stops scoring for a third of a second. A process that does other things too would
    keep what these leave behind."""
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path))
    scorer = scorer_of(load_settings())
    before = gc.get_freeze_count()
    try:
        with following(scorer, scorer.policy, own_process=own_process):
            assert (gc.get_freeze_count() - before > len(gc.get_objects())) is own_process
    finally:
        if own_process:
            gc.unfreeze()
