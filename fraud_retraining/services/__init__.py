"""Operations over several adapters in an order that survives a crash: promotion, approvals, sending, exports.

Not here: the rules (`domain`), the outside world (`adapters`), and Dagster (`orchestration`).

Public: `approvals.ReleaseApprovals`, `promotion.Promoter`, `release_watch.ReleaseWatch`, `delivery.drain`,
`release_history.read_release_history`, `track_record.permission_for`.
"""
