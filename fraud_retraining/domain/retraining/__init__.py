"""Whether a retrain is asked for: triggers, pauses, budget, and that only one runs at a time.

Not here: what is known when that is decided (`orchestration/state`), and starting the run
(`orchestration/sensors/next_runs.py`).
"""
