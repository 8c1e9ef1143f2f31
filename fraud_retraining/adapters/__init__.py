"""The outside world: files, databases, MLflow, Slack. Each adapter talks to one of them and decides nothing.

Not here: what is done with several of them (`services`), and Dagster (`orchestration`).

Public: `storage`, `days`, `ledger`, `mlflow`, `alerts`, `pages`; each says what it gives.
"""
