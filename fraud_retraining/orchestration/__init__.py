"""Dagster: assets, checks, jobs, schedules, sensors, resources. It reads, calls, and translates the answer.

Not here: any decision (`domain`).
"""
