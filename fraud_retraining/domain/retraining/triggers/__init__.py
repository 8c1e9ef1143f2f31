"""What asks for a retrain, one module a trigger: its policy, what it has to know, its answer.

Here: the triggers, the row that each has in `registry.py`, and the one decision that they make together
(`decision.py`). Not here: finding out what is known (`orchestration/state/trigger_inputs.py`), and Dagster's schedules
and sensors.
"""
