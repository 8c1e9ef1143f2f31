"""Audit: histories of versions, reports of periods, replay of the release states, retention, archives.

Not here: the database (`adapters/ledger`), pages (`adapters/pages`) and the commands (`commands/audit.py`).

Public: `history.ReleaseHistory`, `history.build_release_history`, `period.Period`, `archiving.archived`,
`retention.RetentionPolicy`, `stored_state.require_recorded`, `state_replay`.
"""
