"""Dagster: assets, checks, jobs, schedules, sensors, resources.

Here: reading the state, calling domain and services, and returning the answer to Dagster. Its modules are what all
packages below share: names, tags, partitions, opened adapters. Not here: any decision (`domain`).

Public: `names`, `tags`, `partitions`, `resources.open_*`, `instance.open_instance`, `io_managers.read_document`.
"""
