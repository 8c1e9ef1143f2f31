"""The assets, one module a group, with what Dagster's catalogue says of them.

Not here: what is computed (`domain`), checks (`orchestration/checks`).
"""
