"""Base classes of values and policies: immutable, and closed to fields that they do not declare.

Not here: the values themselves, which are defined beside the rules that use them.
"""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A measured, found or decided value. Two values are equal when their fields are.

    >>> class Share(Value):
    ...     value: float
    >>> Share(value=0.5) == Share(value=0.5)
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class Policy(Value):
    """The settings of a rule, with bounds and a description for each field."""
