"""Decisions about retrains: triggers, pauses, budget, and the lease that lets only one run at a time.

Not here: collecting the inputs of a decision (`orchestration/state`), and starting the run
(`orchestration/sensors/next_runs.py`).

Public: `lease_rules.Lease`, `lease_rules.LeasePolicy`, `budget.BudgetPolicy`, `pauses.Automation`, `pauses.Pause`,
`requesters.recorded_request`, `retrain_status.RetrainStatus`, `triggers`.
"""
