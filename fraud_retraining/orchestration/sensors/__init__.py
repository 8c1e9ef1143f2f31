"""Sensors and schedules: what looks for work, and starts runs or sends notices.

`next_runs.py` reads the state and returns the next run; sensors and schedules are thin around it. Not here: the
decision to retrain (`domain/retraining`), and what is done for releases and alerts (`services`).

Public: `triggering.build_day_sensors`, `triggering.build_model_sensors`, `releases.build_sensors`,
`alerts.build_alert_sensors`, `model_cards.build_sensor`, `schedules.build_day_schedules`,
`schedules.build_model_schedules`, `schedules.build_clean_schedule`, `next_runs.resume`.
"""
