"""The ledger's database: events, releases, leases, guards, roles, migrations, archives, pinned heads.

Not here: what events mean (`domain/ledger`, `domain/audit`), and notices (`adapters/alerts`).
"""
