"""Asset checks: rules of the domain as Dagster shows them, and the reports that they store.

Not here: the rules (`domain/data`, `domain/evaluation`, `domain/monitoring`), and reading reports (`state`).

Public: `data_checks.build_checks`, and the function of that name in each module.
"""
