"""Files: folders and S3, the lake, the store, DuckDB over both.

Not here: what the assets of a day hold (`adapters/days`).
Public: `opening.open_location`, `locations.Location`, `lake.Lake`, `store.Store`, `engine.Engine`.
"""
