"""The state of lake, store and ledger: what is missing or stale, and the inputs of a decision to retrain.

Not here: the decision (`domain/retraining/triggers/`), and starting a run (`orchestration/sensors/next_runs.py`).

Public: `inventory.Inventory`, `readiness.Readiness`, `trigger_inputs.collect`, `monitoring.MonitoringState`,
`sources.Sources`, `check_reports`, `first_days`, `reproducibility`.
"""
