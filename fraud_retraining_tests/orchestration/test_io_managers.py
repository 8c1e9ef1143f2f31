"""Documents of as-of assets come back as they were written, or the error says what to materialize."""

from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.releases.candidate import RegisteredVersion, ReleaseOutcome
from fraud_retraining.domain.retraining.retrain_status import RetrainStatus
from fraud_retraining.domain.values.errors import DataInvalid, IntegrityError
from fraud_retraining.orchestration.io_managers import DocumentIOManager, read_document

AS_OF = date(2024, 3, 1)
OUTCOME = ReleaseOutcome(
    as_of=AS_OF, fingerprint="f" * 64, version=3, status=RetrainStatus.PROMOTED, reason="its gates passed"
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(FolderLocation(tmp_path / "store"), scratch=tmp_path / "scratch")


def written(store: Store, value: object) -> None:
    context = dg.build_output_context(asset_key=dg.AssetKey("production_model"), partition_key=str(AS_OF))
    DocumentIOManager(store).handle_output(context, value)


def test_a_document_comes_back_as_it_was_written(store: Store) -> None:
    written(store, OUTCOME)
    assert read_document(store, "production_model", str(AS_OF), ReleaseOutcome) == OUTCOME


def test_what_is_no_document_is_refused(store: Store) -> None:
    with pytest.raises(TypeError, match="gave a dict, not a document"):
        written(store, {"version": 3})


def test_a_partition_without_a_document_names_the_asset_to_materialize(store: Store) -> None:
    with pytest.raises(DataInvalid, match="has not been materialized") as refused:
        read_document(store, "production_model", str(AS_OF), ReleaseOutcome)
    assert "materialize production_model" in str(refused.value)


@pytest.mark.parametrize("data", [b"no json", b"{}"], ids=["damaged", "of another kind"])
def test_a_document_that_cannot_be_read_back_is_an_error_and_no_absence(store: Store, data: bytes) -> None:
    store.write_document("production_model", str(AS_OF), data)
    with pytest.raises(IntegrityError, match="another version of the project or is damaged"):
        read_document(store, "production_model", str(AS_OF), RegisteredVersion)
