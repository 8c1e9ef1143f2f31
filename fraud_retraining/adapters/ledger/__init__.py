"""The ledger's database: events, releases, leases, triggers, grants, migrations, archives, kept chain heads.

Not here: what events mean (`domain/ledger`, `domain/audit`), and notices (`adapters/alerts`).
Public: `ledger.Ledger`, `archive.ArchivingLedger`, `database_grants.OwnedLedger`, `leases.Leases`, and the values that
they take: `releases.NewRelease`, `decisions.ReviewerDecision`, `promotions.AliasMove`, `event_log.EventKeys`.
"""
