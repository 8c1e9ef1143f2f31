"""What the UI shows: every picture and table of a pack as metadata."""

import base64

import dagster as dg

from fraud_retraining.adapters.pages.pictures import pictures
from fraud_retraining.domain.review.tables import review_grids
from fraud_retraining.orchestration.rendering import (
    grid_table,
    importance_table,
    markdown_image,
    review_metadata,
)
from fraud_retraining_tests.support.reviews import review_report


def test_a_picture_travels_within_its_markdown():
    png = pictures(review_report())["scores"]
    text = markdown_image(png, "candidate scores").value
    assert text.startswith("![candidate scores](data:image/png;base64,")
    assert base64.b64decode(text.split(",")[1].rstrip(")")) == png


def test_whole_numbers_stay_numbers_and_everything_else_is_text():
    slices = next(grid for grid in review_grids(review_report()) if grid.name == "slices")
    table = grid_table(slices)
    kinds = {column.name: column.type for column in table.schema.columns}
    assert (kinds["rows"], kinds["frauds"], kinds["value"]) == ("int", "int", "string")
    assert table.records[0].data["rows"] == slices.rows[0][2]


def test_a_review_report_is_metadata_that_dagster_takes_and_names_every_part():
    metadata = review_metadata(review_report("xgboost", None, drift=False))
    assert set(pictures(review_report())) <= set(metadata)
    assert metadata["not_shown"].startswith("Drift: no day before this retrain")
    event = dg.AssetMaterialization("model_evaluation", metadata=metadata)
    assert set(event.metadata) == set(metadata)


def test_a_table_without_rows_is_still_a_table():
    assert importance_table({}).records == []
