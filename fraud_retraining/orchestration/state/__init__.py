"""What is there, what is stale, and what is known when a retrain is decided.

Not here: the decision (`domain/retraining/triggers/`), and starting a run (`orchestration/sensors/next_runs.py`).
"""
