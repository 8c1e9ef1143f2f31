"""Resources are opened as the settings say, and bundles take exactly the keys of their fields."""

from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from fraud_retraining.adapters.pages.signed_links import LEAST_CHARACTERS, LINK_VARIABLE
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.orchestration.resources import ResourceBundle, open_links, open_store, s3_resource
from fraud_retraining.settings import Settings


@dataclass(frozen=True)
class Pair(ResourceBundle):
    first: str
    second: int


@dataclass(frozen=True)
class Triple(Pair):
    third: float


def test_a_bundle_requires_the_keys_of_its_fields_and_of_its_base() -> None:
    assert Pair.keys() == {"first", "second"}
    assert Triple.keys() == {"first", "second", "third"}


def test_an_asset_gets_the_resources_of_a_bundle_by_key() -> None:
    @dg.asset(required_resource_keys=Pair.keys())
    def bundled(context: dg.AssetExecutionContext) -> str:
        pair = Pair.of(context)
        return f"{pair.first}{pair.second}"

    done = dg.materialize([bundled], resources={"first": "a", "second": 1, "unused": 2})
    assert done.output_for_node("bundled") == "a1"


def test_a_bundle_without_one_of_its_resources_is_refused_before_the_run() -> None:
    @dg.asset(required_resource_keys=Pair.keys())
    def bundled(context: dg.AssetExecutionContext) -> None:
        Pair.of(context)

    with pytest.raises(dg.DagsterInvalidDefinitionError, match="second"):
        dg.materialize([bundled], resources={"first": "a"})


def test_the_store_lies_under_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path / "home"))
    store = open_store(Settings())
    store.write_document("a", "b", b"c")
    assert [path.read_bytes() for path in (tmp_path / "home").rglob("b*") if path.is_file()] == [b"c"]


def test_links_need_a_secret_and_refuse_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LINK_VARIABLE, raising=False)
    assert open_links(Settings()) is None
    monkeypatch.setenv(LINK_VARIABLE, "x" * (LEAST_CHARACTERS - 1))
    with pytest.raises(SettingsError, match="too short"):
        open_links(Settings())
    monkeypatch.setenv(LINK_VARIABLE, "x" * LEAST_CHARACTERS)
    assert open_links(Settings()) is not None


def test_s3_is_reached_as_the_settings_say() -> None:
    settings = Settings.model_validate({"lake": {"uri": "s3://a/b", "s3": {"region": "eu-west-1", "max_attempts": 2}}})
    resource = s3_resource(settings)
    assert (resource.region_name, resource.max_attempts) == ("eu-west-1", 2)
