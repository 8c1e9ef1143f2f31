"""Requests for a decision, notices about releases, and their form in Slack.

Not here: who may decide (`domain/releases/reviewers.py`), deciding (`services/approvals.py`), sending
(`services/delivery.py`).
"""
