"""Heads of the ledger's chain, kept as tags in MLflow.

There the ledger's own role cannot write: a chain that was cut or written anew no longer has the head that MLflow
keeps. Not here: comparing (`adapters/ledger/verification.py`), and heads in files (`adapters/ledger/chain_heads.py`).
"""

from fraud_retraining.adapters.mlflow.tags import LEDGER_HEAD
from fraud_retraining.adapters.mlflow.versions import Versions
from fraud_retraining.domain.ledger.hash_chain import Head
from fraud_retraining.domain.values.errors import IntegrityError


class HeadTags(Versions):
    """Heads of the ledger with the registered model and its versions."""

    def pin_head(self, head: Head) -> None:
        """Keep a head of the ledger's chain with the registered model, where a writer of the ledger cannot write.

        Before the first version there is no registered model, and nothing is kept.
        """
        stated = f"{head.seq}:{head.hash}"
        self._find(
            "keep the ledger's head",
            lambda: self._client.set_registered_model_tag(self.model_name, LEDGER_HEAD, stated),
        )

    def keeps_older_head_than(self, head: Head) -> bool:
        """Whether the registered model has an older head, or none: MLflow was down, or the process ended before it.

        What is no head there is left for `pinned_heads` to complain of.
        """
        model = self._find("read the ledger's head", lambda: self._client.get_registered_model(self.model_name))
        if model is None:
            return False
        seq = str(model.tags.get(LEDGER_HEAD, "0:")).partition(":")[0]
        return seq.isdecimal() and int(seq) < head.seq

    def pinned_heads(self) -> list[Head]:
        """The heads of the ledger's chain that MLflow keeps: with the registered model, and every promoted version.

        Raises:
            IntegrityError: a tag is no head.
        """
        model = self._find("read the ledger's head", lambda: self._client.get_registered_model(self.model_name))
        stated = [version.tags[LEDGER_HEAD] for version in self.versions() if LEDGER_HEAD in version.tags]
        stated += [model.tags[LEDGER_HEAD]] if model is not None and LEDGER_HEAD in model.tags else []
        return [_head(text) for text in stated]


def _head(text: str) -> Head:
    seq, _, found = text.partition(":")
    if not seq.isdecimal() or not found:
        raise IntegrityError(
            f"MLflow's tag {LEDGER_HEAD} is no head of the ledger's chain: {text[:100]}",
            remedy="Find out who changed it, and delete the tag; the sensor sets it anew.",
        )
    return Head(seq=int(seq), hash=found)
