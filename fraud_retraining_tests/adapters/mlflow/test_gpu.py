"""Fits on a GPU: refused where there is none, by everything that is missing, and part of the fingerprint."""

import pytest

from fraud_retraining.adapters.mlflow.gpu import device_problems, device_versions, gpus, require_device, wants_gpu
from fraud_retraining.domain.training.fitting import ModelPolicy, fit
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining_tests.support.training_transactions import NUMERIC, TRAINING, given_in, policy

ON_GPU = ModelPolicy(params={"device": "cuda"})


def test_a_fit_on_the_processor_asks_for_nothing_and_keeps_its_fingerprint_and_its_bytes() -> None:
    assert not wants_gpu(ModelPolicy()) and not wants_gpu(ModelPolicy(estimator="catboost"))
    assert device_problems(ModelPolicy()) == [] and device_versions(ModelPolicy()) == {}
    # A model of before has no such parameter.
    assert "device" not in fit(policy(), NUMERIC, (), given_in(TRAINING.slice(0, 500))).params


def test_the_device_is_part_of_the_fingerprint() -> None:
    assert ON_GPU.model_dump()["params"] == {"device": "cuda"}
    assert ON_GPU.parameters.model_dump()["device"] == "cuda"
    with pytest.raises(ValueError, match="device: Input should be 'cpu' or 'cuda'"):
        ModelPolicy(params={"device": "gpu"})
    with pytest.raises(ValueError, match="lightgbm has no parameter device"):
        ModelPolicy(estimator="lightgbm", params={"device": "cuda"})


@pytest.mark.skipif(bool(gpus()), reason="this machine has a GPU")
def test_without_a_gpu_it_is_refused_with_all_that_is_missing_and_the_remedy() -> None:
    for refused in (require_device, device_versions):
        with pytest.raises(SettingsError) as refusal:
            refused(ON_GPU)
        assert "CUDA's driver shows no GPU to this process" in refusal.value.culprits
        assert "the installed build of XGBoost is without CUDA" in refusal.value.culprits
        assert "fraud-retraining[gpu]" in refusal.value.remedy and "take device out" in refusal.value.remedy


@pytest.mark.skipif(not gpus(), reason="this machine has no GPU")
def test_a_fit_on_a_gpu_is_scored_on_the_processor() -> None:
    assert set(device_versions(ON_GPU)) == {"cuda", "gpu"}
    model = fit(policy(device="cuda"), NUMERIC, (), given_in(TRAINING))
    again = type(model).from_files(model.files())
    assert again.predict(TRAINING).tobytes() == model.predict(TRAINING).tobytes()
