"""How good a model is on judged rows, how sure that is, and the gates that it must pass.

Not here: live days (`domain/monitoring`), what a verdict leads to (`domain/releases`).
"""
