"""What the scorer reads and writes: published states, and the log of what was scored.

Not here: the features (`domain/features/live.py`), scoring (`services/live_scoring.py`) and HTTP (`serving/`).
Public: `published_state.publish`, `published_state.PublishedState`, `redis_states.RedisStates`,
`redis_server.RedisServer`, `serving_log.ServingLog`, `served_days.ServedDays`.
"""
