"""What values and policies have in common: they never change, and hold nothing but what they declare.

Here: the two bases. Not here: the values themselves, which stand where they are used.
"""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """Something that was found, measured or decided: equal where its fields are."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Policy(Value):
    """Something that a rule obeys, and that a user can set."""
