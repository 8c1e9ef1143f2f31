"""Pictures and tables as Dagster's metadata.

Here: turning PNG bytes and grids into metadata values. Not here: drawing (`adapters/pages/pictures.py`) and the content
of tables (`domain/review/tables.py`), which web page, card and report share.
"""

import base64
from collections.abc import Mapping
from typing import Any

from dagster import MarkdownMetadataValue, MetadataValue, TableColumn, TableMetadataValue, TableRecord, TableSchema

from fraud_retraining.adapters.pages.pictures import pictures
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.review.tables import importance_grid, left_out, review_grids, window_grid
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.plain_tables import Grid


def markdown_image(png: bytes, alt: str) -> MarkdownMetadataValue:
    """A picture as metadata that Dagster's UI shows, embedded in Markdown."""
    return MetadataValue.md(f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})")


def figure(value: float) -> float:
    """A number to six significant digits, for display; the ledger keeps all digits.

    >>> figure(0.123456789)
    0.123457
    """
    return float(f"{value:.6g}")


def links_of(**urls: str | None) -> dict[str, MetadataValue]:
    """Addresses as links; names without an address are left out."""
    return {name: MetadataValue.url(url) for name, url in urls.items() if url}


def grid_table(grid: Grid) -> TableMetadataValue:
    """A grid as a table, whole numbers as such. The schema is explicit, so that a grid without rows is a table too."""
    # Records are mappings by name: two columns without a name would be one.
    columns = [name or f"column {place}" for place, name in enumerate(grid.columns, start=1)]
    whole = [bool(grid.rows) and all(isinstance(row[place], int) for row in grid.rows) for place in range(len(columns))]
    records = [
        TableRecord({name: cell if one else str(cell) for name, cell, one in zip(columns, row, whole, strict=True)})
        for row in grid.rows
    ]
    kinds = zip(columns, whole, strict=True)
    schema = TableSchema(columns=[TableColumn(name, "int" if one else "string") for name, one in kinds])
    return MetadataValue.table(records=records, schema=schema)


def importance_table(importance: Mapping[str, float]) -> TableMetadataValue:
    """Every feature's importance, greatest first."""
    return grid_table(importance_grid(importance))


def window_table(window: TrainingWindow) -> TableMetadataValue:
    """Every day of a manifest, in order, with its use and its rows."""
    return grid_table(window_grid(window))


def review_metadata(review_report: ReviewReport, drawn: Mapping[str, bytes] | None = None) -> dict[str, Any]:
    """A review report as metadata; `drawn` are its pictures, where they were drawn already."""
    shown = drawn if drawn is not None else pictures(review_report)
    return {
        **{name: markdown_image(png, name) for name, png in shown.items()},
        **{grid.name: grid_table(grid) for grid in review_grids(review_report)},
        **({"not_shown": " ".join(left_out(review_report))} if left_out(review_report) else {}),
    }
