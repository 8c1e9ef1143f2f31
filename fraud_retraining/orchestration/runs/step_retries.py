"""Retries of steps after an outage; never after bad data or a bug.

Here: how a recoverable failure (`domain/alerts/classification.py`) becomes a retry of Dagster's, with the pauses of its
`RetryPolicy`. The policy is not set on the assets: Dagster would then also retry a step that a user interrupted, and
the only exception that it excludes is its own `Failure`, which would hide the error that the command line shows. Not
here: a whole retrain that is tried again (`domain/retraining/triggers/decision.py`).
"""

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import dagster as dg

from fraud_retraining.domain.alerts.classification import judge
from fraud_retraining.domain.alerts.failures import RetryPolicy

T = TypeVar("T")
Compute = Callable[..., Any]


def retried(compute: Compute) -> Compute:
    """The compute function of an asset or check, retried after an outage, in the same run and so the same window.

    It must require the resource `settings`. The last attempt fails with the original error.
    """

    @wraps(compute)
    def once(context: Any, *args: Any, **resources: Any) -> Any:
        with _outages(context, context.resources.settings.retries):
            return compute(context, *args, **resources)

    @wraps(compute)
    def piecewise(context: Any, *args: Any, **resources: Any) -> Iterator[Any]:
        with _outages(context, context.resources.settings.retries):
            # A generator runs after its function has returned: the handler has to surround its steps.
            yield from compute(context, *args, **resources)

    return piecewise if inspect.isgeneratorfunction(compute) else once


@contextmanager
def _outages(context: Any, policy: RetryPolicy) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Dagster counts retries from 0, the settings count attempts from 1.
        attempt = context.op_execution_context.retry_number + 1
        if attempt >= policy.attempts or not judge(error).recoverable:
            raise
        seconds = pause(policy, attempt)
        context.log.warning(f"attempt {attempt} of {policy.attempts} failed; the next in {seconds:.1f} s: {error}")
        raise dg.RetryRequested(max_retries=policy.attempts - 1, seconds_to_wait=seconds) from error


def pause(policy: RetryPolicy, attempt: int) -> float:
    """Seconds between an attempt and the next: doubled each time, with jitter."""
    delays = dg.RetryPolicy(
        max_retries=policy.attempts,
        delay=policy.delay_seconds,
        backoff=dg.Backoff.EXPONENTIAL,
        jitter=dg.Jitter.PLUS_MINUS,
    )
    return delays.calculate_delay(attempt)


def attempted(work: Callable[[], T], policy: RetryPolicy, log: Any) -> T:
    """The result of `work`, retried after an outage: for what Dagster does before the first step."""
    for attempt in range(1, policy.attempts):
        try:
            return work()
        except Exception as error:
            if not judge(error).recoverable:
                raise
            seconds = pause(policy, attempt)
            log.warning(f"attempt {attempt} of {policy.attempts} failed; the next in {seconds:.1f} s: {error}")
            time.sleep(seconds)
    return work()
