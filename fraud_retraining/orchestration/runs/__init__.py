"""A run from start to end: its resources, request, lease, retries, progress, outcome and notices.

Not here: what the run computes (`orchestration/assets`), and which run starts next (`orchestration/sensors`).

Public: `resource_definitions.build_resources`, `step_retries.retried`, `retrain_lease.RetrainLease`,
`progress.Progress`, `requests.record_request`, `outcomes.Outcomes`, `failed_runs.recorded_failure`,
`health.automation_health`.
"""
