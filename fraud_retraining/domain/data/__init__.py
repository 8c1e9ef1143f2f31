"""A day of the user's lake: how its rows are made canonical or refused, and whether the day is good enough to train on.

Not here: reading files (`adapters/storage`), features (`domain/features`), windows of days (`domain/training`).
"""
