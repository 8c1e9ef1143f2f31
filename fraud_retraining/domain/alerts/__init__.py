"""Failures, notices, and the form that a notice has at each destination.

Not here: messages about releases (`domain/release_messages`), keeping and sending them (`adapters/alerts`,
`services/delivery.py`).

Public: `classification.classify`, `failures.Failure`, `notices.Notice`, `notices.AlertPolicy`,
`routing.opening_messages`, `composer.Composer`.
"""
