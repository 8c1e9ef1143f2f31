"""The IO manager of as-of assets: small documents that one asset writes and the next reads.

Here: frozen pydantic values as JSON in the store, one an asset and partition. Not here: rows, which only the store's
day partitions have.
"""

from typing import Any

import dagster as dg
from pydantic import BaseModel, ValidationError

from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.values.errors import DataInvalid, IntegrityError


class DocumentIOManager(dg.IOManager):
    """Documents under `<store>/<asset>/<as-of day>.json`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Writes the document atomically; a later run of the partition replaces it."""
        if not isinstance(obj, BaseModel):
            raise TypeError(f"{context.asset_key.to_user_string()} gave a {type(obj).__name__}, not a document")
        self._store.write_document(_asset(context), context.partition_key, obj.model_dump_json(indent=2).encode())

    def load_input(self, context: dg.InputContext) -> Any:
        """Reads the document back as the type that the downstream asset declares."""
        # The type that the reading asset declares: a document of an older version is refused here, and not half used.
        kind = context.dagster_type.typing_type
        return read_document(self._store, _asset(context), context.partition_key, kind)


def read_document(store: Store, asset: str, partition: str, kind: type[BaseModel]) -> Any:
    """The document of a partition.

    Raises:
        DataInvalid: the partition has none.
        IntegrityError: the stored bytes are not such a document.
    """
    data = store.read_document(asset, partition)
    if data is None:
        raise DataInvalid(f"{asset} of {partition} has not been materialized.", remedy=f"materialize {asset} first.")
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityError(
            f"{asset} of {partition} was written by another version of the project or is damaged.",
            culprits=[f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)][:5],
            remedy=f"materialize {asset} of {partition} again.",
        ) from None


def _asset(context: dg.OutputContext | dg.InputContext) -> str:
    return str(context.asset_key.path[-1])
