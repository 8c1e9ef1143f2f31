"""The scorer as a model of MLflow: raw transactions in, answers out, behind MLflow's own server.

Here: the code that MLflow keeps in the model's folder and runs where it serves. The work is done by the installed
package, as `serve-scores` does it: champion and state are held against the ledger and followed, and every answer is in
the serving log. Not here: writing the folder (`commands/export_scorer.py`), and how transactions are scored
(`services/live_scoring.py`).
"""

import atexit
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE
from mlflow.pyfunc import PythonModel, PythonModelContext

from fraud_retraining.commands.implementation.scores_server import following, scorer_of
from fraud_retraining.commands.support.config import model_settings
from fraud_retraining.services.live_scoring import NotReady
from fraud_retraining.serving.score_app import answer_document
from fraud_retraining.settings import HOME_VARIABLE

SETTINGS, HOME, MODEL = "settings", "home", "model"


class TransactionScorer(PythonModel):
    """Scores raw transactions, in the lake's own column names, with the champion of the moment."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open what `model_config` names: the settings file, and the home, unless the environment names another."""
        config = context.model_config or {}
        if home := config.get(HOME):
            os.environ.setdefault(HOME_VARIABLE, home)
        file = config.get(SETTINGS)
        # The settings may name other models now than when this was exported: another one's answers are no answers.
        settings = model_settings(Path(file) if file else None, config.get(MODEL) or None)
        self._most = settings.serving.max_batch
        self._scorer = scorer_of(settings)
        self._scorer.follow()
        # Interrupted, what was answered is brought to the store. Terminated, MLflow's server lets nothing run: then it
        # stays in the journal for the next scorer of this home.
        running = ExitStack()
        running.enter_context(following(self._scorer, settings.serving))
        atexit.register(running.close)

    def predict(self, model_input: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answer to each transaction, as `POST /score` of `serve-scores` gives it.

        Raises:
            MlflowException: the transactions have problems, each of which is named, or nothing can be scored now.
        """
        if len(model_input) > self._most:
            raise MlflowException(
                f"A request holds at most {self._most} transactions.", error_code=INVALID_PARAMETER_VALUE
            )
        try:
            found = self._scorer.score(model_input)
        except NotReady as why:
            raise MlflowException(str(why), error_code=TEMPORARILY_UNAVAILABLE) from None
        if found.problems:
            named = "; ".join(f"row {one.row}, {one.field}: {one.problem}" for one in found.problems)
            raise MlflowException(
                f"Rows are no transactions; nothing was scored. {named}", error_code=INVALID_PARAMETER_VALUE
            )
        about = {"model_version": found.model_version, "feature_version": found.feature_version}
        return [{**about, **answer_document(answer)} for answer in found.answers]


set_model(TransactionScorer())
