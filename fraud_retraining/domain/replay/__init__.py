"""What other settings would have been worth on past days: policies, their timelines, results and the comparison.

Not here: reading days, fitting and judging (`commands/implementation/replay_answers.py`), the triggers that a timeline
asks (`domain/retraining/triggers`), and the metrics (`domain/evaluation`).
Public: `replaceable_settings.read_policies`, `timeline.timeline`, `results.measured_days`, `comparison.compared`,
`conclusion.conclusion`.
"""
