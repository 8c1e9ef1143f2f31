"""The sensors: new days and retrains, alerts, releases, model cards.

Not here: what they decide (`orchestration/sensors/next_runs.py`, `services`).
"""
