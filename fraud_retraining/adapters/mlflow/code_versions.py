"""Which parts of the code determine days and models, and the version of each.

Here: one row a part. Not here: what else a fingerprint is made of (`domain/training/fingerprint.py`).

A part is known by its own name and version, not by the files that it lies in: a file that moves, or is written better
and gives the same results, retrains no model. `content` is that of the version. Code that has another content is
a version of its own, so that two codes never have one fingerprint. Who changes a part says here
what the change means: the same results under the same version with the new content, other results with the next
version as well. `python -m fraud_retraining.adapters.mlflow.code_versions` prints what the contents are now.
"""

from typing import NamedTuple

from fraud_retraining.adapters.mlflow.environment import content
from fraud_retraining.domain.values.digests import digest


class Part(NamedTuple):
    """A part of the code: its version, what its content was in it, and the modules that it lies in."""

    version: str
    content: str
    modules: tuple[str, ...]


PARTS = {
    "ingestion": Part(
        "1",
        "ee8b93040ce58d73bf54d1effdd941de875ce78532c76f80e10f3d196fb22444",
        (
            "fraud_retraining.domain.values.days",
            "fraud_retraining.domain.data.canonical",
            "fraud_retraining.domain.data.identity",
            "fraud_retraining.domain.data.ingestion",
            "fraud_retraining.domain.data.lake_columns",
            "fraud_retraining.domain.data.lake_mapping",
        ),
    ),
    "labels": Part(
        "1",
        "0250d814d711a9454a4d7607d57a310fd27f9b934a8bd91ea78108e0db848c12",
        (
            "fraud_retraining.domain.data.canonical",
            "fraud_retraining.domain.labels.events",
            "fraud_retraining.domain.labels.feed",
        ),
    ),
    "features": Part(
        "1",
        "fbbdf99a93050b8b92654dfb7da5ffea0ea9ef9449c288cb71be7bfda3040472",
        (
            "fraud_retraining.domain.values.days",
            "fraud_retraining.domain.features.definitions",
            "fraud_retraining.domain.features.plan",
            "fraud_retraining.domain.features.point_in_time",
        ),
    ),
    "scoring": Part(
        "1",
        "b3ba36a002cb17bb53ec7574cef49798a22a7143a8930e64eaf60d01026cc48d",
        (
            "fraud_retraining.domain.training.estimators.model_input",
            "fraud_retraining.domain.training.score_mapping",
            "fraud_retraining.domain.training.scoring",
        ),
    ),
    "training": Part(
        "1",
        "9bf580c79308fb067b033ce1e8646c5d01869c6cd4ddd0d0ecedeee9a868c9ea",
        (
            "fraud_retraining.domain.training.fitting",
            "fraud_retraining.domain.training.training_rows",
            "fraud_retraining.domain.training.estimators.base",
            "fraud_retraining.domain.training.estimators.catboost",
            "fraud_retraining.domain.training.estimators.hist_gradient_boosting",
            "fraud_retraining.domain.training.estimators.lightgbm",
            "fraud_retraining.domain.training.estimators.logistic_regression",
            "fraud_retraining.domain.training.estimators.xgboost",
        ),
    ),
    "spark_training": Part(
        "1",
        "c96cd82a05a62c1de7767a2fb719336f2744357117e97ca1badb98090a0b05b7",
        (
            "fraud_retraining.adapters.days.spark_fit",
            "fraud_retraining.domain.training.row_shares",
        ),
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
