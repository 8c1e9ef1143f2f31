"""The catalogue of columns: every column has a description, and sources that exist."""

from fraud_retraining.domain.features.column_lineage import FEATURES, RAW, TRANSACTIONS, Column, table_columns
from fraud_retraining.settings import Settings

SETTINGS = Settings(features={"numeric": ("risk",), "categorical": ("channel",)})
TABLES = table_columns(SETTINGS.mapping, SETTINGS.feature_plan)


def test_the_features_of_the_catalogue_are_those_of_the_plan() -> None:
    assert [column.name for column in TABLES[FEATURES]] == list(SETTINGS.feature_plan.columns)


def test_every_column_is_described_and_made_of_columns_that_exist() -> None:
    known = {(table, column.name) for table, columns in TABLES.items() for column in columns}
    for table, columns in TABLES.items():
        assert len({column.name for column in columns}) == len(columns), table
        for column in columns:
            assert column.description and column.type
            assert set(column.made_of) <= known, column
            assert table == RAW or column.made_of, f"{table}.{column.name} comes from nowhere"


def test_a_summary_names_each_table_once() -> None:
    made_of = ((TRANSACTIONS, "amount"), (RAW, "TX"), (TRANSACTIONS, "timestamp"))
    column = Column("x", "float", "a sum", made_of)
    assert column.summary == f"a sum; made of {TRANSACTIONS} (amount, timestamp) and {RAW} (TX)"
    assert Column("x", "float", "a sum").summary == "a sum"
