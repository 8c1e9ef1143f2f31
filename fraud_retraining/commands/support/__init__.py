"""What several commands share: options, output, progress bars, logging, failures and their exit codes.

Not here: a command, or anything that imports Dagster, MLflow, DuckDB or pandas when it is imported.
"""
