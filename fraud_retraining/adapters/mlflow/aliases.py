"""The aliases `champion` and `candidate` of the registered model.

MLflow has no compare-and-set for aliases: `compare_and_set_champion` reads, compares, sets and reads again. A move of
the alias in the milliseconds between that first read and the set is overwritten and not noticed. The ledger's lock
keeps other processes of this pipeline out, so this can only be a human at that very moment.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fraud_retraining.adapters.mlflow.model_artifact import read_files, verified
from fraud_retraining.adapters.mlflow.versions import ModelVersion, Versions
from fraud_retraining.domain.values.errors import Conflict

CHAMPION, CANDIDATE = "champion", "candidate"


class Aliases(Versions):
    """Which versions the aliases name."""

    def champion(self) -> ModelVersion | None:
        """The version that serves; None only when MLflow says that no version does."""
        return self._aliased(CHAMPION)

    def candidate(self) -> ModelVersion | None:
        """The version under decision."""
        return self._aliased(CANDIDATE)

    def champion_number(self) -> int | None:
        """The number of the version that serves: one question, for those who ask every few seconds."""
        return self._number(CHAMPION)

    def _aliased(self, alias: str) -> ModelVersion | None:
        number = self._number(alias)
        return None if number is None else self.version(number)

    def _number(self, alias: str) -> int | None:
        model = self._find(f"read the {alias}", lambda: self._client.get_registered_model(self.model_name))
        return int(model.aliases[alias]) if model is not None and alias in model.aliases else None

    def point_candidate(self, number: int, waiting: bool) -> None:
        """Put the alias `candidate` on a version that waits for a decision; take it off one that no longer does."""
        if waiting:
            self._point(CANDIDATE, number)
        elif (candidate := self.candidate()) is not None and candidate.version == number:
            self._point(CANDIDATE, None)

    def compare_and_set_champion(self, expected: int | None, number: int | None) -> None:
        """Move the alias `champion` from `expected` to `number`; None stands for no champion.

        Doing it twice is doing it once.

        Raises:
            Conflict: the champion is another one than expected; it stays.
        """
        serving = self._serving()
        if serving == number:
            return
        if serving != expected:
            raise _moved(expected, serving)
        self._point(CHAMPION, number)
        serving = self._serving()
        if serving != number:
            raise _moved(number, serving)

    def _serving(self) -> int | None:
        champion = self.champion()
        return champion.version if champion else None

    def _point(self, alias: str, number: int | None) -> None:
        with self._call(f"move the alias {alias}"):
            if number is None:
                self._client.delete_registered_model_alias(self.model_name, alias)
            else:
                self._client.set_registered_model_alias(self.model_name, alias, str(number))

    @contextmanager
    def served(self, *, expected_digest: str) -> Iterator[Path]:
        """The folder that production downloads as `models:/<name>@champion`, verified; it is gone afterwards.

        Raises:
            IntegrityError: it is not the recorded one; nothing of it was opened.
        """
        import mlflow

        what = "the champion"
        # MLflow resolves part of this address at the server that the process is set to, not at the client's.
        mlflow.set_tracking_uri(self.tracking_uri)
        with TemporaryDirectory(prefix="fraud-model-") as scratch:
            folder = self._fetch(f"models:/{self.model_name}@{CHAMPION}", Path(scratch), what)
            verified(read_files(folder), expected_digest, what)
            yield folder


def _moved(expected: int | None, found: int | None) -> Conflict:
    def name(number: int | None) -> str:
        return f"version {number}" if number is not None else "nobody"

    return Conflict(
        f"The champion was moved: {name(found)} serves, not {name(expected)}.",
        culprits=[f"champion: {name(found)}"],
        remedy="Look at who moved it; their move stands.",
    )
