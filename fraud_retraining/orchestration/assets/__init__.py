"""The assets, one module a group, and their attributes in Dagster's catalogue.

Not here: what is computed (`domain`), and checks (`orchestration/checks`).

Public: `ingestion.build_assets`, and the function of that name in each module but `specs`, `day_runs`,
`submitted_days`, `days_job`.
"""
