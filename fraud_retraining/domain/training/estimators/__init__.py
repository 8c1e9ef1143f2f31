"""Estimators, one file each: parameters, fit, saving and loading, importance and contributions; and their input.

Not here: the rows that they learn from (`domain/training/training_rows.py`) and the model around the fitted core
(`domain/training/scoring.py`). Public: `base.Estimator`, `base.Core`, `registry.ESTIMATORS`,
`model_input.float_columns`.
"""
