"""What is kept of each answer that the scorer gave, so that it can be compared with the lake later.

Not here: computing features (`domain/features`), writing rows (`adapters/online/serving_log.py`), and what the
comparison finds.
Public: `served_rows.ServedRows`, `served_rows.Sampler`, `served_rows.schema`.
"""
