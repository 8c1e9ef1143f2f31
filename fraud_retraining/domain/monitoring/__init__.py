"""What the days under the champion say: drift, live performance, the age of fixed evaluation days.

Not here: whether that asks for a retrain (`domain/retraining/triggers/`).
"""
