"""Versions of the registered model.

Here: finding, registering and describing them, and the files of a version. Not here: whether a version may serve
(`domain/releases/lifecycle.py`) and the aliases (`aliases.py`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from fraud_retraining.adapters.mlflow.artifacts import Artifacts, gone
from fraud_retraining.adapters.mlflow.connection import all_pages
from fraud_retraining.adapters.mlflow.tags import ARTIFACT_DIGEST, ARTIFACT_REMOVED, AS_OF, FINGERPRINT, TRAINED_ON
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import Conflict, DependencyUnreachable, IntegrityError

MODEL_NOTE = (
    "A fraud model, retrained and judged by the pipeline `fraud_retraining`. The alias `champion` is the version that "
    "serves, `candidate` the one under decision; the pipeline moves both and records every decision in its ledger, so "
    "do not move them by hand: approve, reject and roll back with `fraud-retraining`. Each version's description is "
    "its model card."
)


@dataclass(frozen=True)
class ModelVersion:
    """A version of the registered model, as the registry describes it."""

    version: int
    run_id: str
    tags: dict[str, str]
    aliases: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Digest of everything that determines the model."""
        return self._tag(FINGERPRINT)

    @property
    def artifact_digest(self) -> str:
        """Digest of the artifact as it was registered."""
        return self._tag(ARTIFACT_DIGEST)

    @property
    def as_of(self) -> date:
        """The as-of day that the model was trained for."""
        return date.fromisoformat(self._tag(AS_OF))

    @property
    def trained_on(self) -> DayRange:
        """The days that the model has learnt from, and must not be judged on."""
        first, last = self._tag(TRAINED_ON).split("/")
        return DayRange(start=date.fromisoformat(first), end=date.fromisoformat(last))

    def _tag(self, name: str) -> str:
        if name not in self.tags:
            raise IntegrityError(
                f"Version {self.version} of the registered model has no tag {name}.",
                remedy="It was not registered by this pipeline; move the alias to a version that was.",
            )
        return self.tags[name]


@dataclass(frozen=True)
class NewVersion:
    """A run's model that is to be registered; the fields but the last become tags of the version."""

    run_id: str
    fingerprint: str
    artifact_digest: str
    as_of: date
    trained_on: DayRange
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_tags(self) -> dict[str, str]:
        """Every tag of the version."""
        return {
            **self.tags,
            FINGERPRINT: self.fingerprint,
            ARTIFACT_DIGEST: self.artifact_digest,
            AS_OF: self.as_of.isoformat(),
            TRAINED_ON: f"{self.trained_on.start}/{self.trained_on.end}",
        }


class Versions(Artifacts):
    """The versions of the registered model."""

    def version(self, number: int) -> ModelVersion:
        """One version.

        Raises:
            IntegrityError: the registry has no such version (any more).
        """
        found = self._find(
            f"read version {number}", lambda: self._client.get_model_version(self.model_name, str(number))
        )
        if found is None:
            raise IntegrityError(
                f"The registry has no version {number} of {self.model_name}.",
                remedy="Roll back to a version that exists, or train again.",
            )
        return _version(found)

    def has_version(self, number: int, fingerprint: str) -> bool:
        """Whether MLflow has this version, and under this fingerprint; one of another model of that name is not it."""
        found = self._find(
            f"read version {number}", lambda: self._client.get_model_version(self.model_name, str(number))
        )
        return found is not None and _version(found).tags.get(FINGERPRINT) == fingerprint

    def versions(self) -> list[ModelVersion]:
        """Every version that the registry has, the oldest first."""
        model = self._find("list the aliases", lambda: self._client.get_registered_model(self.model_name))
        named: dict[int, tuple[str, ...]] = {}
        for alias, number in model.aliases.items() if model is not None else ():
            named[int(number)] = (*named.get(int(number), ()), alias)
        # A search gives versions without their aliases, so these come from the registered model.
        found = self._versions_where(f"name = '{self.model_name}'")
        return [replace(version, aliases=named.get(version.version, ())) for version in found]

    def versions_of(self, fingerprint: str) -> list[ModelVersion]:
        """Versions of a fingerprint, the oldest first; more than one only while a lost reply is being tidied up."""
        return self._versions_where(f"name = '{self.model_name}' and tags.{FINGERPRINT} = '{fingerprint}'")

    def _versions_where(self, query: str) -> list[ModelVersion]:
        def request(token: str | None) -> Any:
            return self._client.search_model_versions(query, page_token=token)

        found = self._find("search for a version", lambda: all_pages(request)) or []
        return sorted((_version(version) for version in found), key=lambda version: version.version)

    def version_by_fingerprint(self, fingerprint: str) -> ModelVersion | None:
        """The version of a fingerprint, if it was registered."""
        return next(iter(self.versions_of(fingerprint)), None)

    def register(self, new: NewVersion, *, taken: Collection[int] = ()) -> ModelVersion:
        """Return the version of a run's model: found by its fingerprint, or created; never a second one.

        `taken` are numbers that the ledger knows for other fingerprints: where the registered model was deleted, MLflow
        counts from 1 again, and those numbers are passed over.

        Raises:
            IntegrityError: the artifact is not the recorded one.
            Conflict: another run registered the same fingerprint meanwhile.
        """
        if self.version_by_fingerprint(new.fingerprint) is None:
            self._create_version(new.run_id, new.all_tags)
        version = self._only_version(new.fingerprint)
        while version.version in taken:
            number = version.version
            with self._call(f"pass over version {number}"):
                self._client.delete_model_version(self.model_name, str(number))
            self._create_version(new.run_id, version.tags)
            version = self._only_version(new.fingerprint)
        if version.artifact_digest != new.artifact_digest:
            raise Conflict(
                f"Run {version.run_id} registered this fingerprint as version {version.version} "
                f"before run {new.run_id}.",
                remedy="Run again: it finds that version and adopts it.",
            )
        return version

    def _create_version(self, run_id: str, tags: dict[str, str]) -> None:
        model_id = self.run(run_id).model_id
        # Before registering: no version ever names files that are not the recorded ones.
        self._read_artifact(model_id, tags[ARTIFACT_DIGEST])
        what = "register a version"
        self._describe_model()
        about = {"tags": tags, "model_id": model_id, "description": _version_note(tags)}
        try:
            with self._call(what):
                self._client.create_model_version(self.model_name, f"models:/{model_id}", run_id, **about)
        except DependencyUnreachable:
            # The reply may be lost, not the request: then the version is there.
            if self.version_by_fingerprint(tags[FINGERPRINT]) is None:
                raise

    def _describe_model(self) -> None:
        """The registered model, created where missing, with a description unless it has one."""
        what = "describe the registered model"
        self._create(what, lambda: self._client.create_registered_model(self.model_name, description=MODEL_NOTE))
        with self._call(what):
            if not self._client.get_registered_model(self.model_name).description:
                self._client.update_registered_model(self.model_name, MODEL_NOTE)

    def _only_version(self, fingerprint: str) -> ModelVersion:
        """The oldest version of a fingerprint; later ones, born of a repeated request, are removed."""
        # Creating a version cannot be made idempotent: a request that was repeated made two.
        first, *doubles = self.versions_of(fingerprint)
        for double in doubles:
            # One that an alias names is somebody's by now.
            if not self.version(double.version).aliases:
                with self._call(f"remove version {double.version}, a double of version {first.version}"):
                    self._client.delete_model_version(self.model_name, str(double.version))
        return first

    def set_version_tags(self, number: int, tags: Mapping[str, str]) -> None:
        """Tags of a version, each set or replaced."""
        with self._call(f"tag version {number}"):
            for name, value in tags.items():
                self._client.set_model_version_tag(self.model_name, str(number), name, value)

    def set_description(self, number: int, text: str) -> None:
        """Set the description of a version that users read in MLflow."""
        with self._call(f"describe version {number}"):
            self._client.update_model_version(self.model_name, str(number), text)

    def download(self, number: int, *, expected_digest: str | None = None) -> dict[str, bytes]:
        """The files of a version, verified against the digest of its tag and, where given, of another record.

        Raises:
            IntegrityError: the artifact is gone, incomplete, changed, or recorded otherwise elsewhere.
        """
        version = self.version(number)
        recorded = expected_digest or version.artifact_digest
        if version.artifact_digest != recorded:
            raise IntegrityError(
                f"Version {number} is tagged with another digest than the record has.",
                culprits=[f"tag {version.artifact_digest}", f"record {recorded}"],
                remedy="Do not serve it; find out who changed the tag.",
            )
        what = f"version {number}"
        if ARTIFACT_REMOVED in version.tags:
            raise gone(what, f" any more: it was removed at {version.tags[ARTIFACT_REMOVED]}, see retention")
        location = self._find(
            f"find the artifact of {what}",
            lambda: self._client.get_model_version_download_uri(self.model_name, str(number)),
        )
        return self._read_location(location, recorded, what)


def _version(version: Any) -> ModelVersion:
    return ModelVersion(
        version=int(version.version),
        run_id=version.run_id or "",
        tags=dict(version.tags),
        aliases=tuple(version.aliases),
    )


def _version_note(tags: Mapping[str, str]) -> str:
    """What a version is, until its model card stands in this place."""
    return f"As of {tags[AS_OF]}, trained on {tags[TRAINED_ON].replace('/', ' to ')}; fingerprint {tags[FINGERPRINT]}."
