"""Base classes of values and policies: immutable, and closed to fields that they do not declare.

Not here: the values themselves, which are defined beside the rules that use them.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Value(BaseModel):
    """A measured, found or decided value. Two values are equal when their fields are.

    >>> class Share(Value):
    ...     value: float
    >>> Share(value=0.5) == Share(value=0.5)
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class ExtendedValue(Value):
    """A value that got fields in a later version: they are left out while they hold their default.

    So what was digested or stored before has the same digest after. `ADDED` names those fields.
    """

    ADDED: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_added_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        fields = type(self).model_fields
        unused = {name for name in self.ADDED if getattr(self, name) == fields[name].default}
        return {name: value for name, value in written.items() if name not in unused}


class Policy(Value):
    """The settings of a rule, with bounds and a description for each field."""
