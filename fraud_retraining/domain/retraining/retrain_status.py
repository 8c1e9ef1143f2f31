"""Results of a retrain.

Here: the status that command line, ledger and budget share. Not here: the values that lead to it
(`domain/releases/candidate.py`).
"""

from enum import StrEnum


class RetrainStatus(StrEnum):
    """How a retrain ended."""

    PROMOTED = "promoted"
    AWAITING_APPROVAL = "awaiting_approval"
    GATE_FAILED = "gate_failed"
    DATA_INVALID = "data_invalid"
    ALREADY_TRAINED = "already_trained"
    SUPERSEDED = "superseded"
    JUDGED = "judged"
