"""The policies of a replay: names, and the settings that each has instead of the present ones.

Here: which settings a policy may replace, and how they are laid over the present ones. Not here: whether the values are
possible, which the settings themselves say (`settings.py`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from fraud_retraining.domain.retraining.triggers.registry import TRIGGERS
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.errors import SettingsError

MODEL_KEYS = ("estimator", "params", "downsample")


class ReplayPolicy(Value):
    """A name, and settings that differ from the present ones; without `retrains` the first model serves for ever."""

    name: str
    overrides: dict[str, Any] = Field({}, description="Settings by section, nested as in retraining.yaml.")
    retrains: bool = True


PRESENT = ReplayPolicy(name="present settings")
NEVER = ReplayPolicy(name="never retrain", retrains=False)
ALWAYS = (PRESENT, NEVER)
"""Policies of every replay."""


def replayed_keys() -> dict[str, tuple[str, ...]]:
    """Sections that a policy may replace, with the keys of each; () stands for all of them."""
    return {
        "triggers": tuple(TRIGGERS),
        "window": (),
        "holdout": (),
        "judging": (),
        "labels": ("use",),
        "model": MODEL_KEYS,
    }


def read_policies(given: object, source: str) -> tuple[ReplayPolicy, ...]:
    """The policies of a file, after those of every replay.

    Args:
        given: what the file holds: a mapping of names to settings.
        source: the file, for messages.

    Raises:
        SettingsError: names every policy and key that cannot be replayed.
    """
    if not isinstance(given, Mapping) or not given:
        raise SettingsError(
            f"{source} holds no policies.", remedy="write a name and its settings: {monthly: {triggers: {...}}}."
        )
    problems = [problem for name, overrides in given.items() for problem in _problems(name, overrides)]
    if problems:
        raise SettingsError(
            f"The policies of {source} cannot be replayed.",
            culprits=problems,
            remedy=f"a policy replaces {_choices()}; 'present settings' and 'never retrain' are always there.",
        )
    return (*ALWAYS, *(ReplayPolicy(name=name, overrides=dict(overrides or {})) for name, overrides in given.items()))


def _choices() -> str:
    named = [
        ", ".join(f"{section}.{key}" for key in keys) if keys else section for section, keys in replayed_keys().items()
    ]
    return ", ".join(named)


def _problems(name: object, overrides: object) -> Iterator[str]:
    if not isinstance(name, str) or not name.strip():
        yield f"{name!r}: a policy has a name"
    elif name in {one.name for one in ALWAYS}:
        yield f"{name}: this name is that of a policy of every replay"
    elif overrides is not None and not isinstance(overrides, Mapping):
        yield f"{name}: holds {overrides!r}, not settings"
    else:
        for section, value in (overrides or {}).items():
            yield from (f"{name}: {problem}" for problem in _section_problems(section, value))


def _section_problems(section: object, value: object) -> Iterator[str]:
    known = replayed_keys()
    if section not in known:
        yield f"{section}: is no setting that a replay can change"
        return
    keys = known[str(section)]
    if not keys:
        return
    if not isinstance(value, Mapping):
        yield f"{section}: holds {value!r}, not {', '.join(keys)}"
        return
    yield from (f"{section}.{key}: is no setting that a replay can change" for key in value if key not in keys)


def laid_over(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with others laid over them; another strategy replaces its whole section.

    >>> laid_over({"window": {"strategy": "rolling", "days": 30}}, {"window": {"days": 60}})
    {'window': {'strategy': 'rolling', 'days': 60}}
    """
    found = dict(base)
    for key, value in overrides.items():
        before = found.get(key)
        merged = isinstance(value, Mapping) and isinstance(before, Mapping) and not _other_strategy(before, value)
        found[key] = laid_over(before, value) if merged else value  # type: ignore[arg-type]
    return found


def _other_strategy(before: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    return "strategy" in value and value["strategy"] != before.get("strategy", "rolling")
