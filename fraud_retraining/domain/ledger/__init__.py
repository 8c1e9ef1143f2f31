"""Events of the ledger, and the chain of hashes that binds them.

Not here: the database (`adapters/ledger`), and what an auditor makes of the events (`domain/audit`).
"""
