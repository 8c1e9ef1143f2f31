"""The commands of `fraud-retraining`, one file each: options, help, and the order of what a command does.

`support/` has what several commands share, `implementation/` the longer work behind them. Importing a command loads no
heavy library: each imports its implementation when it runs. Not here: any rule (`domain`, `services`, `orchestration`).

Public: the function of each module that bears its name, such as `retrain.retrain` and `audit.audit`.
"""
