"""A lake as wide as real ones: the simulator's columns and many more, few of which mean anything.

Of the further columns most are noise about a level that moves a little from day to day, as real ones do; five drift for
good, each in its own way: a trend, a counter, a version that is replaced, values that go missing, a step. None of them
says anything about fraud. On some days one terminal takes a large part of all payments.
"""

from collections.abc import Iterator
from datetime import date

import numpy as np
import pyarrow as pa

from fraud_retraining.domain.evaluation.judged import Floats
from fraud_retraining.simulation import SimulationPolicy, Simulator

NUMBERS, WORDS = 125, 20
DRIFTING_NUMBERS = ("drifting_trend", "drifting_counter", "drifting_missing", "drifting_step")
DRIFTING_WORDS = ("drifting_version",)
NUMBER_NAMES = (*(f"number_{n:03d}" for n in range(NUMBERS)), *DRIFTING_NUMBERS)
WORD_NAMES = (*(f"word_{n:02d}" for n in range(WORDS)), *DRIFTING_WORDS)
START = date(2026, 1, 1)
HEAVY_TERMINAL, HEAVY_SHARE = 3, 0.06


def wide_days(policy: SimulationPolicy, *, drift_from: int, heavy: range) -> Iterator[tuple[date, pa.Table]]:
    """The days of a lake. Five columns drift from a day on; on the days of `heavy` one terminal is busy."""
    for index, (day, table) in enumerate(Simulator(policy)):
        random = np.random.default_rng([policy.seed, index])
        if index in heavy:
            table = _with_heavy_terminal(table, random)
        for name, values in _columns(table.num_rows, index, max(0, index - drift_from), random):
            table = table.append_column(name, values)
        yield day, table


def _with_heavy_terminal(table: pa.Table, random: np.random.Generator) -> pa.Table:
    """Payments of random customers go to one terminal."""
    at = table.column_names.index("TERMINAL_ID")
    terminals = table["TERMINAL_ID"].to_numpy().copy()
    moved = (random.random(len(terminals)) < HEAVY_SHARE) & (table["TX_FRAUD"].to_numpy() == 0)
    terminals[moved] = HEAVY_TERMINAL
    return table.set_column(at, "TERMINAL_ID", pa.array(terminals, table.schema.field(at).type))


def _columns(rows: int, index: int, late: int, random: np.random.Generator) -> Iterator[tuple[str, pa.Array]]:
    for number in range(NUMBERS):
        yield NUMBER_NAMES[number], pa.array(_number(number, rows, random))
    yield "drifting_trend", pa.array(random.normal(0.1 * late, 1, rows))
    yield "drifting_counter", pa.array(1000.0 * index + random.integers(0, 1000, rows))
    yield "drifting_missing", _sparse(random.gamma(2, 1, rows), min(0.9, 0.05 + 0.05 * late), random)
    yield "drifting_step", pa.array(random.gamma(2, 3.0 if late else 1.0, rows))
    for number in range(WORDS):
        share = np.array([0.5, 0.3, 0.15, 0.05]) * random.uniform(0.9, 1.1, 4)
        yield WORD_NAMES[number], pa.array(random.choice([f"w{n}" for n in range(4)], rows, p=share / share.sum()))
    versions = [f"v{index // 10}", f"v{index // 10 + 1}"]
    yield "drifting_version", pa.array(random.choice(versions, rows, p=[0.7, 0.3]))


def _number(number: int, rows: int, random: np.random.Generator) -> Floats:
    level = 1 + random.normal(0, 0.03)
    kinds = (
        lambda: random.normal(level, 1, rows),
        lambda: random.gamma(2, 40 * level, rows),
        lambda: random.poisson(0.3 * level, rows).astype(float),
        lambda: random.lognormal(0, 1.5, rows) * level,
        lambda: np.where(random.random(rows) < 0.8, 0.0, random.gamma(1, level, rows)),
    )
    return kinds[number % len(kinds)]()


def _sparse(values: Floats, share: float, random: np.random.Generator) -> pa.Array:
    return pa.array(values, mask=random.random(len(values)) < share)
