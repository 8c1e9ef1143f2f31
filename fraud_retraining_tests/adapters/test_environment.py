"""What a fingerprint learns of its surroundings: the sources that make a model, and the libraries they use."""

import re
from importlib.metadata import version

import pytest

from fraud_retraining.adapters.environment import FITTING_LIBRARIES, library_versions, source_files
from fraud_retraining.domain import training
from fraud_retraining.domain.fingerprint import code_digest


def test_the_source_of_a_module_is_the_file_that_is_imported():
    name = "fraud_retraining.domain.training"
    sources = source_files([name])
    with open(training.__file__, "rb") as file:
        assert sources == {name: file.read()}
    assert re.fullmatch("[0-9a-f]{64}", code_digest(sources))


def test_a_module_that_does_not_exist_is_no_empty_source():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        source_files(["fraud_retraining.domain.no_such_module"])


def test_versions_are_the_installed_ones():
    versions = library_versions()
    assert tuple(versions) == FITTING_LIBRARIES
    assert versions["numpy"] == version("numpy")
    assert library_versions(["pyarrow"]) == {"pyarrow": version("pyarrow")}
