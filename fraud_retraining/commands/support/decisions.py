"""Access to release decisions for the commands of a reviewer, and how a decision is printed."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fraud_retraining.commands.support.config import model_settings, recorded_settings
from fraud_retraining.commands.support.output import out, print_json

if TYPE_CHECKING:
    from fraud_retraining.commands.implementation.release_decisions import Decisions
    from fraud_retraining.domain.releases.release import Release


def open_decisions(by: str | None, config: Path | None, model: str | None, *, former: bool = False) -> "Decisions":
    """Release decisions in the name of `by`, or of the account that runs the command.

    With `former` also those of a model that the settings no longer name: the reviewers of all models decide them.
    """
    from fraud_retraining.commands.implementation.release_decisions import Decisions

    settings = recorded_settings(config, model) if former else model_settings(config, model)
    return Decisions(settings, by, _prompt_for_token if sys.stdin.isatty() else None)


def _prompt_for_token(name: str) -> str:
    """The token of a reviewer, typed unseen; an argument would show in the list of processes."""
    return str(typer.prompt(f"Token of {name}", hide_input=True, err=True))


def print_decision(release: "Release", *, as_json: bool) -> None:
    """The state of a release after a decision, and who decided."""
    from fraud_retraining.domain.releases.release import ReleaseState

    if as_json:
        print_json(release.model_dump(mode="json"))
        return
    if release.state is ReleaseState.AWAITING_APPROVAL:
        out.print(
            f"version {release.version} was approved by {release.first_approval_by}; a second reviewer has to approve "
            f"before {release.deadline:%Y-%m-%d %H:%M} UTC",
            highlight=False,
        )
        return
    state = release.state.replace("_", " ")
    by = f"by {release.decided_by or release.moved_by} ({release.decided_via})" if release.decided_via else ""
    out.print(f"version {release.version} as of {release.as_of} is {state} {by}".rstrip(), highlight=False)
