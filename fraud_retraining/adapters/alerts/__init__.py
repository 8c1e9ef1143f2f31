"""The outbox of messages, in the ledger's database.

Not here: what a message says (`domain/alerts`), and sending it (`services/delivery.py`).
"""
