"""What several commands share: options, output, progress bars, logging, failures and their exit codes.

Not here: a command, or anything that imports Dagster, MLflow, DuckDB or pandas when it is imported.

Public: `failures.reported_failures`, `options` (types of parameters), `output.out`, `output.err`, `output.print_json`,
`config.read_settings`, `progress.RichProgress`, `decisions.open_decisions`.
"""
