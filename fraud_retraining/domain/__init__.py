"""What is decided, as pure functions over values.

One package a capability; they import each other one way, from `replay` down to `values`. Not here: Dagster, MLflow,
SQL, the network, the disk, the environment, a clock.

Public: `values`, `data`, `labels`, `features`, `training`, `evaluation`, `retraining`, `releases`, `ledger`,
`monitoring`, `review`, `audit`, `alerts`, `replay`, `release_messages`; each says what it gives.
"""
