"""What is read from and written to day partitions of the store: counts, rows, reports.

Not here: the store itself (`adapters/storage/store.py`).
Public: `window_rows.WindowRows`, `day_counts.Counter`, and the functions of the other modules.
"""
