"""Values that every capability uses: base classes, days, intervals, digests, canonical columns, errors, redaction.

Not here: a value that only one capability needs; it belongs beside the rules that use it.
Public: `base.Value`, `base.Policy`, `days.DayRange`, `digests.digest`, `errors.RetrainingError` and its family,
`plain_tables.Grid`, `interval.Interval`, `redaction.redact`, and the canonical columns in `schemas`.
"""
