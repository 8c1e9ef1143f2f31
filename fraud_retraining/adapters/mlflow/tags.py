"""Names of the tags that this pipeline writes on MLflow's runs, versions and registered model.

They are stored: a name here is never changed.
"""

FINGERPRINT = "fingerprint"
ARTIFACT_DIGEST = "artifact_digest"
LOGGED_MODEL = "logged_model"
AS_OF = "as_of"
TRAINED_ON = "trained_on"
LEDGER_HEAD = "ledger_head"
ARTIFACT_REMOVED = "artifact_removed"
DAGSTER_RUN = "dagster_run_id"
ENDED_WHY = "ended_because"
AUTOMATED = "automated_retrain"
RELEASE_STATUS = "release_status"
REFIT_OF = "refit_of"
"""On the run of a second fit: the fingerprint of the judged one."""
RELEASED_FIT = "released_fit"
NOTE = "mlflow.note.content"
RUN_NAME = "mlflow.runName"
