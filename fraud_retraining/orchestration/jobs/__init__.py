"""The jobs: the day assets, the chain of an as-of day, a decision about a release, the daily clean-up.

Not here: when they run (`orchestration/sensors`) and how a run records itself (`orchestration/runs`).

Public: `asset_jobs.build_day_jobs`, `asset_jobs.build_model_jobs`, `cleaning.build_clean_job`,
`decide_release.build_decide_job`.
"""
