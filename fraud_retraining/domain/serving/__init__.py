"""How the scorer answers, and what is kept of each answer, so that it can be compared with the lake later.

Not here: computing features (`domain/features`), writing rows (`adapters/online/serving_log.py`), and what the
comparison finds.
Public: `policy.ServingPolicy`, `served_rows.ServedRows`, `served_rows.Sampler`, `served_rows.schema`.
"""
