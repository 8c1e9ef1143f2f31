"""The policies of a replay as settings: the present ones with those of each policy laid over them.

Here: reading the file, and refusing values that no settings may have. Not here: which settings a policy may replace
(`domain/replay/replaceable_settings.py`).
"""

from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from fraud_retraining.adapters.storage.yaml_file import read_yaml
from fraud_retraining.domain.replay.replaceable_settings import ReplayPolicy, read_policies
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.domain.values.redaction import redact
from fraud_retraining.settings import Settings
from fraud_retraining.settings_checks import settings_problems, validation_problems


@dataclass(frozen=True)
class PolicySettings:
    """A policy, and the settings that it means."""

    policy: ReplayPolicy
    settings: Settings


def fitting_here(settings: Settings) -> Settings:
    """The settings of a replay whose retrains fit on Spark: it fits many models beside each other, in its processes."""
    here = {"trainer": "local", "trainer_workers": None}
    return settings.with_overrides({"model": here}) if settings.model.trainer != "local" else settings


def policies_of(path: Path, settings: Settings) -> tuple[PolicySettings, ...]:
    """The policies of a file, after those of every replay, with their settings.

    Raises:
        SettingsError: the file cannot be read, or names each policy and key that cannot be obeyed.
    """
    policies = read_policies(_read(path), str(path))
    found = [(policy, _settings_of(policy, settings)) for policy in policies]
    problems = [f"{policy.name}: {problem}" for policy, made in found if isinstance(made, list) for problem in made]
    if problems:
        raise SettingsError(
            f"The policies of {path} cannot be obeyed.",
            culprits=problems,
            remedy="correct each line above; every key and its bounds stand in retraining.yaml.",
        )
    return tuple(PolicySettings(policy, made) for policy, made in found if not isinstance(made, list))


def _read(path: Path) -> object:
    try:
        return read_yaml(path)
    except FileNotFoundError:
        raise SettingsError(f"There is no file of policies at {path}.", remedy="correct --policies.") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise SettingsError(
            f"{path} cannot be read as policies in YAML.",
            culprits=[redact(str(error))],
            remedy="correct the line that is named.",
        ) from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read.", culprits=[error], remedy="correct its permissions.") from None


def _settings_of(policy: ReplayPolicy, settings: Settings) -> Settings | list[str]:
    """The settings of a policy, or what of them cannot be obeyed."""
    if not policy.overrides:
        return settings
    try:
        made = settings.with_overrides(policy.overrides)
    except ValidationError as error:
        return validation_problems(error)
    if (policy.overrides.get("labels") or {}).get("use") == "as_known" != made.labels.use:
        return ["labels.use: as_known needs to know when labels became known: columns.labelled_at, or a feed"]
    return settings_problems(made) or made
