"""Review of a candidate: the report, its tables and first screen, and the model card.

Not here: requests for the decision (`domain/release_messages`), drawing and pages (`adapters/pages`).

Public: `report.ReviewReport`, `assembly.assemble_review_report`, `first_screen.review_summary`, `tables.review_grids`,
`model_card.card_markdown`.
"""
