"""`fraud-retraining link`: a signed link to a waiting version, for one reviewer."""

import sys
from typing import Annotated

import typer

from fraud_retraining.commands.support.config import model_settings
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import Config, Json, Model, Version
from fraud_retraining.commands.support.output import err, print_json


def link(
    version: Version,
    reviewer: Annotated[str, typer.Option("--for", help="Reviewer, by the name in promotion.reviewers.")],
    config: Config = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Print a signed link by which a reviewer decides about a waiting version, once; give it to no other person."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.commands.implementation.reviewer_links import make_link

        made = make_link(model_settings(config, model), version, reviewer)
        if as_json:
            print_json(made.model_dump(mode="json"))
        else:
            # The link alone on stdout, unwrapped, so that a script can pass it on.
            sys.stdout.write(f"{made.url}\n")
            err.print(f"For {made.reviewer} alone, good once, until {made.expires_at:%Y-%m-%d %H:%M} UTC.")
