"""A day of the user's lake: canonical rows, rejected rows, and the checks of a day.

Not here: reading files (`adapters/storage`), features (`domain/features`), windows of days (`domain/training`).
Public: `ingestion.ingest`, `validation.ValidationPolicy`, `day_checks.day_checks`, `rule_results.results_of`,
`identity.clashes`, `lake_layout.meaning_of`, `memory.default_memory_limit`, `reproducibility.Reproducibility`,
`request_rows.RequestReader`.
"""
