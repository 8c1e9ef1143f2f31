"""The GPU that a fit may run on: whether there is one, whether XGBoost can use it, and its name for the fingerprint.

Here: asking the driver and the build of XGBoost. Not here: the setting (`params: {device: cuda}`, a parameter of
`domain/training/estimators/xgboost.py`) and the fit.
"""

import ctypes
from importlib.metadata import PackageNotFoundError, version

from fraud_retraining.domain.training.fitting import ModelPolicy
from fraud_retraining.domain.values.errors import SettingsError

CUDA = "cuda"
CPU_BUILD, CUDA_BUILD = "xgboost-cpu", "xgboost"
NAME_LENGTH = 256

INSTALL = (
    'pip install "fraud-retraining[gpu]" && pip uninstall -y xgboost-cpu && '
    'pip install --force-reinstall --no-deps "xgboost==3.2.*"'
)


def wants_gpu(model: ModelPolicy) -> bool:
    """Whether the settings have models fitted on a GPU."""
    return getattr(model.parameters, "device", "cpu") == CUDA


def gpus() -> tuple[str, ...]:
    """Names of the GPUs that CUDA's driver shows to this process; none where there is no driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int()
    # Each function gives 0 where it succeeded (CUDA driver API, cuInit and cuDeviceGetCount).
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    return tuple(_name(driver, number) for number in range(count.value))


def _name(driver: ctypes.CDLL, number: int) -> str:
    device, name = ctypes.c_int(), ctypes.create_string_buffer(NAME_LENGTH)
    if driver.cuDeviceGet(ctypes.byref(device), number) or driver.cuDeviceGetName(name, NAME_LENGTH, device):
        return f"GPU {number}"
    return name.value.decode(errors="replace")


def device_problems(model: ModelPolicy) -> list[str]:
    """Why a fit cannot run where the settings want it; empty where it can, and for a fit on the processor."""
    if not wants_gpu(model):
        return []
    import xgboost

    problems = []
    if not xgboost.build_info()["USE_CUDA"]:
        problems.append("the installed build of XGBoost is without CUDA")
    if installed(CPU_BUILD) and installed(CUDA_BUILD):
        problems.append(f"{CPU_BUILD} and {CUDA_BUILD} are both installed, and hold the same files")
    if not gpus():
        problems.append("CUDA's driver shows no GPU to this process")
    return problems


def require_device(model: ModelPolicy) -> None:
    """Refuse a fit on a GPU that is not there.

    Raises:
        SettingsError: names all that is missing.
    """
    problems = device_problems(model)
    if problems:
        raise SettingsError(
            "model.params.device is cuda, and no model can be fitted on a GPU here.",
            culprits=problems,
            remedy=f"{INSTALL}, on a machine with an NVIDIA GPU and its driver; or take device out of model.params.",
        )


def device_versions(model: ModelPolicy) -> dict[str, str]:
    """What of the device determines a fit: the GPU and XGBoost's build for CUDA; nothing for the processor.

    Raises:
        SettingsError: there is no GPU to fit on.
    """
    if not wants_gpu(model):
        return {}
    require_device(model)
    import xgboost

    built = xgboost.build_info().get("CUDA_VERSION", ())
    return {"cuda": ".".join(map(str, built)) or "unknown", "gpu": gpus()[0]}


def installed(distribution: str) -> bool:
    """Whether a distribution is installed."""
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
