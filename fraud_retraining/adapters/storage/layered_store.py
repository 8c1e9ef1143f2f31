"""A store some of whose assets lie in another place: what is computed in another way, beside what is shared.

Here: which of the two places an asset is read from, and that the shared one is not written to. Not here: how either
keeps its partitions (`store.py`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from fraud_retraining.adapters.storage.locations import Location, ObjectInfo
from fraud_retraining.adapters.storage.store import Partition, Standing, Store, StoredFile

if TYPE_CHECKING:
    import pyarrow as pa


class LayeredStore(Store):
    """The assets `own` in a store of their own, every other one read from `shared`, which stays as it is.

    Raises:
        ValueError: something of a shared asset would be written.
    """

    def __init__(self, shared: Store, layer: Store, own: Collection[str]) -> None:
        self._shared = shared
        self._layer = layer
        self._own = frozenset(own)

    @property
    def location(self) -> Location:
        """The place of the shared store."""
        return self._shared.location

    @property
    def own_location(self) -> Location:
        """The model's part of the shared store."""
        return self._shared.own_location

    def partition(self, asset: str, day: date) -> Partition | None:
        """As of the store that holds the asset."""
        return self._of(asset).partition(asset, day)

    def standing(self, asset: str, days: Iterable[date]) -> dict[date, Standing]:
        """As of the store that holds the asset."""
        return self._of(asset).standing(asset, days)

    def write(
        self,
        asset: str,
        day: date,
        tables: "Mapping[str, pa.Table]",
        *,
        digest: str,
        inputs: Mapping[str, str],
        facts: Mapping[str, Any],
    ) -> Partition:
        """Commit a partition of an asset of the layer."""
        return self._writable(asset).write(asset, day, tables, digest=digest, inputs=inputs, facts=facts)

    def put(self, asset: str, day: date, tables: "Mapping[str, pa.Table]") -> dict[str, StoredFile]:
        """Put files of an asset of the layer."""
        return self._writable(asset).put(asset, day, tables)

    def commit(
        self,
        asset: str,
        day: date,
        files: Mapping[str, StoredFile],
        *,
        digest: str,
        inputs: Mapping[str, str],
        facts: Mapping[str, Any],
    ) -> Partition:
        """Commit files of an asset of the layer that are there already."""
        return self._writable(asset).commit(asset, day, files, digest=digest, inputs=inputs, facts=facts)

    def whole(self, record: Partition) -> Partition:
        """As of the store that holds the partition."""
        return self._of(record.asset).whole(record)

    def objects(self, partitions: Sequence[Partition], name: str) -> list[ObjectInfo]:
        """As of the stores that hold the partitions, in order."""
        return [info for one in partitions for info in self._of(one.asset).objects([one], name)]

    def paths(self, partitions: Sequence[Partition], name: str) -> list[Path]:
        """As of the stores that hold the partitions, in order."""
        return [path for one in partitions for path in self._of(one.asset).paths([one], name)]

    def annotate(self, asset: str, day: date, name: str, document: BaseModel | Mapping[str, Any]) -> None:
        """Put a document beside a partition of the layer."""
        self._writable(asset).annotate(asset, day, name, document)

    def annotation(self, asset: str, day: date, name: str) -> dict[str, Any] | None:
        """As of the store that holds the asset."""
        return self._of(asset).annotation(asset, day, name)

    def read_document(self, asset: str, key: str) -> bytes | None:
        """As of the store that holds the asset."""
        return self._of(asset).read_document(asset, key)

    def write_document(self, asset: str, key: str, data: bytes) -> None:
        """Put a document of an asset of the layer."""
        self._writable(asset).write_document(asset, key, data)

    def _of(self, asset: str) -> Store:
        return self._layer if asset in self._own else self._shared

    def _writable(self, asset: str) -> Store:
        if asset not in self._own:
            raise ValueError(f"{asset} is shared, and read only here")
        return self._layer
