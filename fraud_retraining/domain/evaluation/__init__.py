"""Metrics of a model on judged rows, their uncertainty, and the gates that a candidate must pass.

Not here: live days (`domain/monitoring`), what a verdict leads to (`domain/releases`).
Public: `judged.Judged`, `metrics.evaluate`, `comparison.compare`, `metric_intervals.metric_intervals`,
`explanation.explain`, `gates`.
"""
