"""What is served: the app of releases with its limits, and the file that scores inside MLflow.

Not here: the pages (`adapters/pages`), and what a decision does (`services/approvals.py`).
"""
