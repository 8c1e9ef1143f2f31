"""What is done with several adapters in one order that survives a crash: promotion, approvals, sending, exports.

Not here: the rules (`domain`), the outside world (`adapters`), and Dagster (`orchestration`).
"""
