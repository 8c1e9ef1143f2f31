"""Events of the ledger, and the chain of hashes that binds them.

Not here: the database (`adapters/ledger`), and what an auditor makes of the events (`domain/audit`).

Public: `events.EventKind`, `events.Event`, `hash_chain.Head`, `hash_chain.Row`, `hash_chain.verify_chain`.
"""
