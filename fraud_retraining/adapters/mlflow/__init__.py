"""MLflow: runs, versions, aliases, the model's artifact, and the environment that made it.

Not here: what the record says of a version (`services/recorded_versions.py`).
Public: `registry.Registry`, and the values that it takes: `logged_models.TrainingSource`, `versions.NewVersion`.
"""
