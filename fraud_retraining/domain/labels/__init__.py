"""What becomes known of transactions, and when: label events, reporting delays, and weights of recent frauds.

Not here: features that read labels (`domain/features`) and days of labels in the store (`adapters/days`).

Public: `events.LabelDay`, `events.split_events`, `events.judged_events`, `events.entity_label_days`,
`feed.canonical_feed`, `arrival.LabelArrival`, `reporting_delays.ReportingDelays`, `feed_health.reporting_on`,
`policy.LabelPolicy`.
"""
