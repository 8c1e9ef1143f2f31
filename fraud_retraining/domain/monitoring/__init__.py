"""Monitoring of the champion: drift, live performance, the age of fixed evaluation days.

Not here: whether that triggers a retrain (`domain/retraining/triggers/`).
"""
