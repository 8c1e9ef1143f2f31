"""Ibis on Spark with the meaning that the same expressions have in DuckDB.

Here: where Ibis's own compiler for Spark means something else. Not here: expressions (`domain/`).

NaN is a number and not null, as in DuckDB and in our rules: a NaN amount is rejected for another reason than a missing
one. A float as text is written as DuckDB and Python write it; Java writes 1.2E7.
"""

from math import isfinite
from typing import Any, ClassVar

import ibis.expr.datatypes as dt
import pandas as pd
import sqlglot.expressions as sge
from ibis.backends.pyspark import Backend
from ibis.backends.sql.compilers.base import FALSE, NULL, SQLGlotCompiler
from ibis.backends.sql.compilers.pyspark import PySparkCompiler

FLOAT_TEXT = "fraud_retraining_float_text"


class Compiler(PySparkCompiler):
    """Ibis's compiler for Spark but for floats: null, NaN, infinity, literals and text."""

    __slots__ = ()

    def visit_NonNullLiteral(self, op: Any, *, value: Any, dtype: Any) -> Any:
        """Floats as floats: Spark reads 0.1 as a decimal."""
        if not dtype.is_floating():
            return super().visit_NonNullLiteral(op, value=value, dtype=dtype)
        if isfinite(value):
            return self.cast(sge.convert(value), dtype)
        return SQLGlotCompiler.visit_NonNullLiteral(self, op, value=value, dtype=dtype)

    def visit_Field(self, op: Any, *, rel: Any, name: Any) -> Any:
        """A column as it is."""
        return SQLGlotCompiler.visit_Field(self, op, rel=rel, name=name)

    def visit_IsNull(self, op: Any, *, arg: Any) -> Any:
        """Null alone, and not NaN."""
        return arg.is_(NULL)

    def visit_NotNull(self, op: Any, *, arg: Any) -> Any:
        """Everything but null, NaN included."""
        return arg.is_(NULL).not_()

    def visit_IsInf(self, op: Any, *, arg: Any) -> Any:
        """Infinite floats; Ibis 12 compares pieces of SQL with each other here, which is never true."""
        if not op.arg.dtype.is_floating():
            return FALSE
        return arg.eq(self.cast(sge.convert("Infinity"), dt.float64)).or_(
            arg.eq(self.cast(sge.convert("-Infinity"), dt.float64))
        )

    def visit_Cast(self, op: Any, *, arg: Any, to: Any) -> Any:
        """Floats as text by our own function."""
        if op.arg.dtype.is_floating() and to.is_string():
            return self.f.anon[FLOAT_TEXT](self.cast(arg, dt.float64))
        return super().visit_Cast(op, arg=arg, to=to)


class SparkBackend(Backend):
    """Ibis's backend for a Spark session, which gets UTC as its time zone."""

    compiler: ClassVar[Any] = Compiler()


def float_text(values: pd.Series) -> pd.Series:
    """Floats as text.

    >>> float_text(pd.Series([12.0, 1.5e20, 0.00001, float("nan")])).tolist()
    ['12.0', '1.5e+20', '1e-05', None]
    """
    return (
        values.map(lambda value: None if pd.isna(value) else repr(float(value)))
        .astype(object)
        .where(values.notna(), None)
    )
