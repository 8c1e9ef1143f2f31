"""Helpers of several tests: real servers and databases, processes that are killed, records and models ready to use.

Here: one module a kind of helper; fixtures stand in `conftest.py` or in a module `*_fixtures`. Not here: a test, or a
helper that one test file uses (it stands in that file).

Public: `project_homes.ProjectHome`, `command_line.run`, `daemons.daemon_over`, `databases`, `faults.run_killed`,
`approvals_fixture.new_backend`, `ledger_history.with_history`, `recorded.Record`, `reviewers.Slack`.
"""
