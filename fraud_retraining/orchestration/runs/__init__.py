"""A run's life: its lease, retries, who asked for it, how it ended and who hears of it.

Not here: what the run computes (`orchestration/assets`).
"""
