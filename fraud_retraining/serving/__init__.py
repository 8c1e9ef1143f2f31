"""What is served: the web apps of releases and of scores with their limits, and the model-from-code file that scores
inside MLflow.

Public: `release_app.build_app`, `score_app.build_app`, `release_site.ReleaseSite`, `slack_actions.Slack`,
`limits.server_config`, `scorer`.
Not here: how pages look (`adapters/pages`), what a decision does (`services/approvals.py`), scoring
(`services/live_scoring.py`), and Dagster.
"""
