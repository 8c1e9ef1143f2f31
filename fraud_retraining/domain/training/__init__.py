"""Which days a model learns from, what determines it, how it is fitted, and the fitted model itself.

Not here: whether it is good enough (`domain/evaluation`), and where it is kept (`adapters/mlflow`).
"""
