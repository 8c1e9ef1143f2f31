"""A table of Athena as a lake: days as listed, rows as unloaded, and nothing of a query that went wrong."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.config import Config

from fraud_retraining.adapters.storage import athena
from fraud_retraining.adapters.storage.athena import AthenaLocation
from fraud_retraining.adapters.storage.lake import Lake, Naming
from fraud_retraining.adapters.storage.s3 import ObjectCache, S3Location
from fraud_retraining.domain.data.athena_table import AthenaPolicy
from fraud_retraining.domain.data.lake_layout import DayLimits
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import DataInvalid, DependencyUnreachable, IntegrityError, SettingsError
from fraud_retraining_tests.support.athena_server import Athena, athena_server

COLUMNS = ["TRANSACTION_ID", "TX_AMOUNT", "TX_DATETIME"]
FIRST = date(2026, 2, 27)


class Table(NamedTuple):
    """A table of four days, its server, and the lake over it."""

    folder: Path
    server: Athena
    bucket: str
    lake: Callable[..., Lake]

    def write(self, day: date, rows: int, first: int = 0) -> None:
        file = self.folder / day.strftime("year=%Y/month=%m/day=%d/part-0.parquet")
        file.parent.mkdir(parents=True, exist_ok=True)
        ids = [f"{day}-{number}" for number in range(first, first + rows)]
        at = [datetime.combine(day, datetime.min.time(), UTC) + timedelta(seconds=number) for number in range(rows)]
        pq.write_table(
            pa.table({"TRANSACTION_ID": ids, "TX_AMOUNT": [1.5] * rows, "TX_DATETIME": at, "SECRET": ids}), file
        )

    def below(self, prefix: str) -> list[str]:
        found = self.server.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"out/{prefix}")
        return [one["Key"] for one in found.get("Contents", [])]


@pytest.fixture(autouse=True)
def nothing_listed() -> None:
    """A process that has listed nothing yet."""
    athena._LISTED.clear()


@pytest.fixture
def table(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Table]:
    from dagster_aws.s3 import S3Resource

    for name, value in (("AWS_ACCESS_KEY_ID", "nobody"), ("AWS_SECRET_ACCESS_KEY", "nothing")):
        monkeypatch.setenv(name, value)
    bucket = f"athena-{uuid4().hex[:12]}"
    s3 = S3Resource(endpoint_url=s3_endpoint, region_name="us-east-1")
    with athena_server(s3_endpoint) as (address, server):
        server.s3.create_bucket(Bucket=bucket)
        server.tables["payments", "transactions"] = tmp_path / "table"

        def lake(**changes: Any) -> Lake:
            given = {"database": "payments", "table": "transactions", "output": f"s3://{bucket}/out"}
            columns, limits = changes.pop("columns", COLUMNS), DayLimits(**changes.pop("limits", {}))
            optional = changes.pop("optional", ())
            quick = {"poll_seconds": 0.01, "listing_keep_seconds": 0}
            policy = AthenaPolicy(**{**given, **quick, "max_scanned_bytes": 10**9, **changes})
            cache = ObjectCache(tmp_path / "cache", limit=10**9, keep_seconds=60)
            output = S3Location(bucket, "out", s3=s3, cache=tmp_path / "cache", policy=_transfer())
            location = AthenaLocation(
                policy,
                lambda: boto3.client("athena", endpoint_url=address, region_name="us-east-1"),
                columns=columns,
                optional=optional,
                limits=limits,
                output=output,
                cache=cache,
            )
            naming = Naming("lake", columns=columns)
            return Lake(location, limits=limits, naming=naming, today=lambda: date(2026, 3, 10))

        made = Table(tmp_path / "table", server, bucket, lake)
        for number in range(4):
            made.write(FIRST + timedelta(days=number), 10 + number)
        yield made


def _transfer() -> Any:
    from fraud_retraining.adapters.storage.locations import TransferPolicy

    return TransferPolicy()


def rows_of(lake: Lake, day: date) -> pa.Table:
    (path,) = lake.fetch(lake.days(DayRange(start=day, end=day))[day]).paths
    return pq.read_table(path)


def test_a_day_is_listed_and_read_by_the_columns_that_are_needed(table: Table) -> None:
    lake = table.lake()
    assert list(lake.days()) == [FIRST + timedelta(days=number) for number in range(4)]
    assert list(lake.days(DayRange(start=FIRST + timedelta(days=1), end=FIRST + timedelta(days=2)))) == [
        FIRST + timedelta(days=1),
        FIRST + timedelta(days=2),
    ]
    read = rows_of(lake, FIRST)
    assert read.column_names == COLUMNS
    assert sorted(read["TRANSACTION_ID"].to_pylist()) == sorted(f"{FIRST}-{number}" for number in range(10))
    assert table.below("unload/") == []
    assert all(key.endswith("-manifest.csv") for key in table.below("results/"))
    unload = next(one for one in table.server.statements if one.startswith("UNLOAD"))
    assert "BETWEEN DATE '2026-02-27' AND DATE '2026-02-27'" in unload


def test_a_table_is_described_without_a_query(table: Table) -> None:
    found = table.lake()._location.described()  # type: ignore[attr-defined]
    assert found.partitions == (("day", "string"),)
    assert [name for name, _ in found.columns] == ["transaction_id", "tx_amount", "tx_datetime", "secret"]
    assert not found.is_view
    assert not table.server.statements
    with pytest.raises(DataInvalid, match=r"there is no table athena://payments\.other"):
        table.lake(table="other")._location.described()  # type: ignore[attr-defined]


def test_what_queries_scanned_is_counted(table: Table) -> None:
    lake = table.lake()
    rows_of(lake, FIRST)
    # The listing, the unload, and a look at the day before and after it.
    assert lake._location.scanned_bytes == 4 * table.server.scanned  # type: ignore[attr-defined]


def test_a_day_that_was_read_is_not_queried_again_until_it_is_written_again(table: Table) -> None:
    lake = table.lake()
    first = rows_of(lake, FIRST)
    unloads = [one for one in table.server.statements if one.startswith("UNLOAD")]
    assert rows_of(lake, FIRST).equals(first)
    assert [one for one in table.server.statements if one.startswith("UNLOAD")] == unloads
    before = lake.days()[FIRST].version
    table.write(FIRST, 12)
    assert lake.days()[FIRST].version != before
    assert rows_of(lake, FIRST).num_rows == 12


def test_a_query_that_failed_half_way_leaves_nothing_and_the_next_one_doubles_nothing(table: Table) -> None:
    lake = table.lake()
    table.server.goes_wrong = ["fails half-way"]
    with pytest.raises(DependencyUnreachable, match="did not succeed"):
        rows_of(lake, FIRST)
    assert table.below("unload/") == []
    assert rows_of(lake, FIRST).num_rows == 10


def test_files_that_no_manifest_names_are_not_read(table: Table) -> None:
    table.server.goes_wrong = ["a file more"]
    assert rows_of(table.lake(), FIRST).num_rows == 10


@pytest.mark.parametrize("wrong", ["row twice", "rewritten"])
def test_rows_that_are_not_those_that_were_listed_are_refused_and_not_kept(table: Table, wrong: str) -> None:
    lake = table.lake()
    table.server.goes_wrong = [wrong]
    with pytest.raises(IntegrityError, match="2026-02-27"):
        rows_of(lake, FIRST)
    assert rows_of(lake, FIRST).num_rows == 10


def test_an_answer_that_was_lost_starts_nothing_twice(table: Table) -> None:
    table.server.goes_wrong = ["loses the answer"]
    assert rows_of(table.lake(), FIRST).num_rows == 10
    assert sum(one.startswith("UNLOAD") for one in table.server.statements) == 1


def test_a_query_that_takes_too_long_is_stopped(table: Table) -> None:
    table.server.goes_wrong = ["hangs"]
    with pytest.raises(DependencyUnreachable, match=r"more than 0\.3 s .* it was stopped"):
        rows_of(table.lake(deadline_seconds=0.3), FIRST)
    assert len(table.server.stopped) == 1


@pytest.mark.parametrize(("cutoff", "found"), [(None, "sets no limit"), (2 * 10**9, "allows 2,000,000,000 bytes")])
def test_a_workgroup_without_a_limit_below_the_settings_is_refused_before_any_query(
    table: Table, cutoff: int | None, found: str
) -> None:
    table.server.cutoff = cutoff
    with pytest.raises(SettingsError, match=found) as refused:
        table.lake().days()
    assert "update-work-group" in str(refused.value)
    assert not table.server.statements


def test_a_query_that_scanned_too_much_is_refused(table: Table) -> None:
    table.server.scanned = 10**9 + 1
    with pytest.raises(DataInvalid, match="scans more than"):
        table.lake().days()


@pytest.mark.parametrize(
    "changes", [{"table": "other"}, {"day": "CAST(missing AS date)"}, {"modified": "max(missing)"}, {"day": "no SQL ("}]
)
def test_what_the_settings_name_wrongly_is_named(table: Table, changes: dict[str, str]) -> None:
    with pytest.raises(DataInvalid, match="Athena refuses a query"):
        table.lake(**changes).days()


def test_a_view_says_itself_when_a_day_was_written(table: Table) -> None:
    lake = table.lake(modified="max(TX_DATETIME)")
    assert rows_of(lake, FIRST).num_rows == 10


def test_files_of_queries_that_were_cut_off_long_ago_are_deleted(table: Table) -> None:
    old, young = (f"{datetime.now(UTC) - timedelta(hours=hours):%Y%m%dT%H%M%SZ}-x" for hours in (30, 2))
    for folder in (old, young):
        table.server.s3.put_object(Bucket=table.bucket, Key=f"out/unload/{folder}/part", Body=b"rows")
    rows_of(table.lake(), FIRST)
    assert table.below("unload/") == [f"out/unload/{young}/part"]


def test_a_service_that_cannot_be_reached_is_an_outage(table: Table) -> None:
    policy = AthenaPolicy(database="payments", table="transactions", output=f"s3://{table.bucket}/out")
    once = Config(retries={"total_max_attempts": 1})
    nobody = boto3.client("athena", endpoint_url="http://127.0.0.1:9", region_name="us-east-1", config=once)
    location = AthenaLocation(policy, lambda: nobody, columns=None, limits=DayLimits(), output=None, cache=None)  # type: ignore[arg-type]
    with pytest.raises(DependencyUnreachable, match="could not be reached"):
        location.survey()


def test_other_columns_are_another_file(table: Table) -> None:
    assert rows_of(table.lake(), FIRST).column_names == COLUMNS
    assert rows_of(table.lake(columns=["SECRET", "TX_AMOUNT"]), FIRST).column_names == ["SECRET", "TX_AMOUNT"]


def test_a_column_that_one_model_alone_asks_for_is_left_out_where_the_table_has_none(table: Table) -> None:
    lake = table.lake(columns=[*COLUMNS, "CUNTRY", "SECRET"], optional=["CUNTRY", "SECRET"])
    assert rows_of(lake, FIRST).column_names == [*COLUMNS, "SECRET"]
    with pytest.raises(DataInvalid, match="CUNTRY"):
        rows_of(table.lake(columns=[*COLUMNS, "CUNTRY"]), FIRST)


@pytest.mark.parametrize(("limits", "named"), [({"max_rows": 9}, "max_rows"), ({"max_bytes": 500}, "max_bytes")])
def test_a_day_that_is_larger_than_it_may_be_is_not_downloaded(
    table: Table, limits: dict[str, int], named: str, tmp_path: Path
) -> None:
    with pytest.raises(DataInvalid, match=r"2026-02-27 .* a day may have") as refused:
        rows_of(table.lake(limits=limits), FIRST)
    assert f"lake.limits.{named}" in str(refused.value)
    assert not list((tmp_path / "cache").rglob("*.parquet"))
    assert table.below("unload/") == []


def test_a_day_may_have_as_many_rows_as_days_may_and_not_as_files_may(table: Table) -> None:
    assert rows_of(table.lake(limits={"max_file_rows": 3}), FIRST).num_rows == 10


def test_a_listing_is_believed_for_a_while_and_reading_a_day_looks_again(table: Table) -> None:
    lake = table.lake(listing_keep_seconds=600)
    before = lake.days()
    table.write(FIRST, 12)
    assert lake.days() == before
    assert table.lake(listing_keep_seconds=600).days() == before
    with pytest.raises(IntegrityError, match="was listed as 10 rows"):
        lake.fetch(before[FIRST])


def test_a_workgroup_that_puts_results_elsewhere_is_refused_before_any_query(table: Table) -> None:
    enforced = {"EnforceWorkGroupConfiguration": True, "ResultConfiguration": {"OutputLocation": "s3://others/results"}}
    table.server.workgroup = enforced
    with pytest.raises(SettingsError, match="which is not below"):
        table.lake().days()
    assert not table.server.statements
    enforced["ResultConfiguration"]["OutputLocation"] = f"s3://{table.bucket}/out/results/"  # type: ignore[index]
    assert table.lake().days()


def test_a_partition_that_is_no_day_is_set_aside_and_the_others_are_read(table: Table) -> None:
    lake = table.lake(day="TRY_CAST(CASE WHEN day = '2026-02-28' THEN 'latest' ELSE day END AS date)")
    listing = lake.listing()
    assert FIRST + timedelta(days=1) not in listing.days
    assert len(listing.days) == 3
    assert any("have no day" in str(one) for one in listing.set_aside)
