"""The jobs: the day assets, the chain of an as-of day, a decision about a release, the daily clean-up.

Not here: when they run (`orchestration/sensors`) and how a run records itself (`orchestration/runs`).

Public: `asset_jobs.build_jobs`, `cleaning.build_clean_job`, `decide_release.decide_release`.
"""
