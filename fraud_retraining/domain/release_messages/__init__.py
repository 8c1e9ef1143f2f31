"""Requests for a decision, notices about releases, and their form in Slack.

Not here: who may decide (`domain/releases/reviewers.py`), deciding (`services/approvals.py`), sending
(`services/delivery.py`).

Public: `announcements.notice_of`, `announcements.ReleaseNotice`, `request.request_text`,
`slack_request.request_message`, `slack_request.decided_message`.
"""
