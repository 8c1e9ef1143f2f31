"""What everything else is written in: base of values, days, intervals, digests, canonical columns, errors, redaction.

Not here: anything that only one capability needs.
"""
