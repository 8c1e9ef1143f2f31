"""Asset checks: rules of the domain as Dagster shows them, and the reports that they store.

Not here: the rules (`domain/data`, `domain/evaluation`, `domain/monitoring`), and reading reports (`state`).

Public: `data_checks.build_day_checks`, `data_checks.build_window_checks`, and of each other module its function of
checks: `label_checks.build_checks`, `model_checks.build_checks`, `drift_checks.build_checks`,
`performance_checks.build_checks`, `skew_checks.build_checks`.
"""
