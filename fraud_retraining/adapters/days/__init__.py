"""What is read from and written to day partitions of the store: counts, rows, reports.

Not here: the store itself (`adapters/storage/store.py`).
"""
