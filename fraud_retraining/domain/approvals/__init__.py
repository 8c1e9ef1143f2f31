"""The request for a decision and the news of releases: what they say, and how they look in Slack.

Not here: who may decide (`domain/releases/reviewers.py`), deciding (`services/approvals.py`), sending
(`services/delivery.py`).
"""
