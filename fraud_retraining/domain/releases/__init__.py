"""The life of a candidate: its states, who may move it, whether a human is asked, and what a stored verdict allows.

Not here: moving the champion (`services/promotion.py`), and asking a human (`domain/approvals`).
"""
