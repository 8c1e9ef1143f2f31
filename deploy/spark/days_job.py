"""The script of a job on EMR Serverless or Glue that makes days (docs/spark.md); the package is installed there."""

import sys

from fraud_retraining.orchestration.assets.days_job import main

# Not exit(0): Glue takes any SystemExit for a failure.
if code := main():
    sys.exit(code)
