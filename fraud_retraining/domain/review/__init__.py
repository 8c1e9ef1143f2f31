"""Review of a candidate: the report, its tables and first screen, and the model card.

Not here: requests for the decision (`domain/release_messages`), drawing and pages (`adapters/pages`).
"""
