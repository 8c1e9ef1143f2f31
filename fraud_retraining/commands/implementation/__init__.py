"""The longer work behind the commands: pipeline runs, current state, decisions, the audit trail, local servers.

Each module is imported by its command when that runs, so heavy libraries may be imported here. Not here: options and
help (`commands/*.py`), and any rule (`domain`).

Public: `pipeline.Pipeline`, `current_state.read_state`, `release_decisions.Decisions`, `job_runner.JobRunner`,
`retrain_output.retrain_answer`, `development_servers.dagster_home`.
"""
