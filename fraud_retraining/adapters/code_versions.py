"""Which parts of the code determine days and models, and the version of each.

Here: one row a part. Not here: what else a fingerprint is made of (`domain/fingerprint.py`).

A part is known by its own name and version, not by the files that it lies in: a file that moves, or is written better
and gives the same results, retrains nobody's model. `content` is that of the version. Code that has another content is
a version of its own, whoever changed it, so that two codes never have one fingerprint. Who changes a part says here
what the change means: the same results under the same version with the new content, other results with the next
version as well. `python -m fraud_retraining.adapters.code_versions` prints what the contents are now.
"""

from typing import NamedTuple

from fraud_retraining.adapters.environment import content
from fraud_retraining.domain.fingerprint import digest


class Part(NamedTuple):
    """A part of the code: its version, what its content was in it, and the modules that it lies in."""

    version: str
    content: str
    modules: tuple[str, ...]


PARTS = {
    "ingestion": Part(
        "1",
        "caf0d1bb0f36ad060998d542be4a054c0375b95fe7a3db79d0396ffc19f0afa6",
        ("fraud_retraining.domain.days", "fraud_retraining.domain.identity", "fraud_retraining.domain.ingestion"),
    ),
    "features": Part(
        "1",
        "64256033b58b2f95fb81cf958ff9470e1ae225b03e40f2bf34d3a55b8f676e36",
        ("fraud_retraining.domain.days", "fraud_retraining.domain.features"),
    ),
    "scoring": Part(
        "1", "84f3f50dbece982f4718b9064eab0de18a04f5b97372c1db0f948881261b5861", ("fraud_retraining.domain.scoring",)
    ),
    "training": Part(
        "1", "09f53f121945865fa5b0394737efd3b182587dafa1bda002aea00478fec04a15", ("fraud_retraining.domain.training",)
    ),
}


def code_version(*names: str) -> str:
    """Digest of the versions of some parts of the code."""
    return digest({name: _version(PARTS[name]) for name in names})


def _version(part: Part) -> str:
    found = content(part.modules)
    return part.version if found == part.content else found


if __name__ == "__main__":
    for name, part in PARTS.items():
        print(f"{name}: version {part.version}, {content(part.modules)}")
