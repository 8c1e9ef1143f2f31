"""What a reviewer sees of a candidate: the report, its tables and first screen, and the model card.

Not here: asking for the decision (`domain/approvals`), drawing and pages (`adapters/pages`).
"""
