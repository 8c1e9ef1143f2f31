"""What other processes do with a lease; run by the tests as `python -m`, their arguments say what to do."""

import os
import signal
import sys
import time
from datetime import date

from fraud_retraining.adapters.ledger.leases import Heartbeat, Leases
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.processes import this_process
from fraud_retraining.adapters.ledger.promotions import AliasMove
from fraud_retraining.adapters.ledger.releases import NewRelease
from fraud_retraining.domain.retraining.lease_rules import Lease, LeasePolicy, Owner, Purpose
from fraud_retraining.domain.values.errors import RetrainingError

AS_OF = date(2026, 11, 1)
PURPOSE = Purpose(as_of=AS_OF, trigger="schedule")


def owner(run: str) -> Owner:
    return Owner(run_id=run, process=this_process())


def say(words: str) -> None:
    print(words, flush=True)


def taken(leases: Leases, run: str) -> Lease:
    lease = leases.take(owner(run), PURPOSE)
    Heartbeat(leases, lease).start()
    say(f"took {lease.token}")
    return lease


def wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.01)


def compete(leases: Leases, run: str, start: str) -> None:
    """Take it at the same moment as others, and keep it if it was to be had."""
    say("ready")
    wait_for(start)
    taken(leases, run)
    time.sleep(600)


def hold(leases: Leases, run: str) -> None:
    """Take it and keep it until killed."""
    taken(leases, run)
    time.sleep(600)


def write_late(leases: Leases, run: str, ledger: Ledger, step: str) -> None:
    """Take it, stop, and when continued write what was about to be written."""
    lease = taken(leases, run)
    os.kill(os.getpid(), signal.SIGSTOP)
    write(ledger, step, lease)
    say("wrote")


def write(ledger: Ledger, step: str, lease: Lease) -> None:
    if step == "register":
        new = NewRelease(2, "f2", AS_OF, trigger="schedule", artifact_digest="d2", verdict_passed=True)
        ledger.open_release(new, actor="pipeline", channel="dagster", lease=lease)
    else:
        ledger.intend_promotion(AliasMove(1, None), actor="pipeline", channel="dagster", lease=lease)


def main(what: str, url: str, expires_seconds: str, run: str, *more: str) -> None:
    ledger = Ledger(url, patience=60)
    leases = ledger.retrain_lease(LeasePolicy(expires_seconds=float(expires_seconds)))
    try:
        if what == "compete":
            compete(leases, run, *more)
        elif what == "hold":
            hold(leases, run)
        else:
            write_late(leases, run, ledger, *more)
    except RetrainingError as error:
        say(f"{type(error).__name__}: {error.what}")


if __name__ == "__main__":
    main(*sys.argv[1:])
