"""Monitoring of the champion: drift, live performance, the age of fixed evaluation days.

Not here: whether that triggers a retrain (`domain/retraining/triggers/`).

Public: `drift.DriftReport`, `drift.DriftPolicy`, `drift.ReferenceProfile`, `live_performance.PerformanceReport`,
`live_performance.measure`, `fixed_evaluation_days.FixedSetAge`, `bins.Bins`, `drift_tables.drift_grid`.
"""
