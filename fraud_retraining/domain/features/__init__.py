"""Point-in-time features of a transaction, their inputs, and the lineage of columns.

Not here: running the expressions (`adapters/storage/engine.py`) and which days a model learns from (`domain/training`).
Public: `plan.FeaturePlan`, `definitions.ENTITY_FEATURES`, `point_in_time.transaction_features`,
`online.OnlineFeatures`, `column_lineage.table_columns`, `partition_inputs.features_inputs`.
"""
