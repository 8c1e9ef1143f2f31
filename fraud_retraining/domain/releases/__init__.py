"""Releases: states, reviewers, whether a human has to decide, and what a stored verdict permits.

Not here: moving the champion (`services/promotion.py`), and requests for a decision (`domain/release_messages`).

Public: `release.Release`, `release.ReleaseState`, `reviewers.ReviewerPolicy`, `promotion_mode.PromotionPolicy`,
`verdict_checks.require_verdict`, `candidate.Evaluation`.
"""
