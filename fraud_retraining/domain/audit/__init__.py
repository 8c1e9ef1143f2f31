"""Audit: histories of versions, reports of periods, replay of the release states, retention, archives.

Not here: the database (`adapters/ledger`), pages (`adapters/pages`) and the commands (`commands/audit.py`).
"""
