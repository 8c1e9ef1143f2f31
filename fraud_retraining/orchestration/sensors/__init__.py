"""The sensors: new days and retrains, alerts, releases, model cards.

Not here: what they decide (`orchestration/automation.py`, `services`).
"""
