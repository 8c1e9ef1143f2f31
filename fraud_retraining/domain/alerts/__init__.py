"""What a failure means, who hears of it, and how a message looks at each destination.

Not here: messages about releases (`domain/approvals`), keeping and sending them (`adapters/alerts`,
`services/delivery.py`).
"""
