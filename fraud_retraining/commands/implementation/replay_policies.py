"""The policies of a replay as settings: the present ones with those of each policy laid over them.

Here: reading the file, and refusing values that no settings may have. Not here: which settings a policy may replace
(`domain/replay/replaceable_settings.py`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from fraud_retraining.adapters.storage.yaml_file import read_yaml
from fraud_retraining.domain.replay.replaceable_settings import ReplayPolicy, laid_over, read_policies
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.domain.values.redaction import redact
from fraud_retraining.settings import FRESH_HOLDOUT_DAYS, MATURE_HOLDOUT_DAYS, Settings
from fraud_retraining.settings_checks import conflicts, feature_name_problems, unmappable, validation_problems


class GivenSettings(Settings):
    """Settings from values alone: the environment is in the present settings already, and must not win again."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The values that were given, nothing else."""
        return (init_settings,)


@dataclass(frozen=True)
class PolicySettings:
    """A policy, and the settings that it means."""

    policy: ReplayPolicy
    settings: Settings


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
        made = GivenSettings(**_values(policy, settings))
    except ValidationError as error:
        return validation_problems(error)
    if (policy.overrides.get("labels") or {}).get("use") == "as_known" != made.labels.use:
        return ["labels.use: as_known needs to know when labels became known: columns.labelled_at, or a feed"]
    return (conflicts(made) or unmappable(made) or feature_name_problems(made)) or made


def _values(policy: ReplayPolicy, settings: Settings) -> dict[str, Any]:
    base = settings.model_dump(exclude_unset=True)
    overrides = policy.overrides
    # The length that follows from how labels are used must not stay when the policy uses them otherwise.
    follows = FRESH_HOLDOUT_DAYS if settings.judges_fresh else MATURE_HOLDOUT_DAYS
    if settings.holdout.days == follows and ("labels" in overrides or "judging" in overrides):
        base["holdout"] = {key: value for key, value in base["holdout"].items() if key != "days"}
    return laid_over(base, overrides)
