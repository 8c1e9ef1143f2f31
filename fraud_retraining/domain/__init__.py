"""What is decided, as values and functions: values in, values out.

Nothing here knows Dagster, MLflow, SQL, the network, the disk, the environment or a clock. One package a capability;
they import each other one way, from `release_messages` down to `values`.
"""
