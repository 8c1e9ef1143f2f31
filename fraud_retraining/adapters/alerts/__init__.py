"""The outbox of alert messages in the ledger's database, and the destinations that send them.

Not here: what a message says (`domain/alerts`), and the loop that drains the outbox (`services/delivery.py`).
Public: `outbox.Outbox`, `destination.Destination` (the protocol), `registry.DESTINATIONS`.
"""
