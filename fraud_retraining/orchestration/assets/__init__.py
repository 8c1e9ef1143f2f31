"""The assets, one module a group, and their attributes in Dagster's catalogue.

Not here: what is computed (`domain`), and checks (`orchestration/checks`).

Public: `build_assets` of each module, `specs.described`.
"""
