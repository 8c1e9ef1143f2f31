"""What the commands of `fraud-retraining` do, and how they answer.

Not here: options and help (`cli.py`).
"""
