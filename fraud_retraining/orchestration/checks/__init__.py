"""Asset checks: rules of the domain as Dagster shows them.

Not here: the rules (`domain/data`, `domain/evaluation`, `domain/monitoring`).
"""
