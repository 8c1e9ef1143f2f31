"""What an auditor reads and what is kept for them: histories, periods, replays of the record, retention, archives.

Not here: the database (`adapters/ledger`), pages (`adapters/pages`) and the commands (`commands/audit.py`).
"""
