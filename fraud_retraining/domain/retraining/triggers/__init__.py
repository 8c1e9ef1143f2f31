"""Triggers of a retrain, one module each: its policy, its inputs, its result.

Here: the triggers, the row that each has in `registry.py`, and the one decision that is made from all results
(`decision.py`). Not here: collecting the inputs (`orchestration/state/trigger_inputs.py`), and Dagster's schedules
and sensors.

Public: `registry.TRIGGERS`, `registry.TriggerPolicy`, `registry.TriggerInputs`, `decision.decide`, `values.Trigger`,
`values.Retrain`.
"""
