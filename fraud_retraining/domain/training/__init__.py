"""Training windows, the fingerprint of a model, the fit, the estimators, and the fitted model.

Not here: whether it is good enough (`domain/evaluation`), and where it is kept (`adapters/mlflow`).
Public: `windows.window_days`, `windows.build_manifest`, `window_checks.window_checks`, `fingerprint.fingerprint`,
`fitting.fit`, `fitting.ModelPolicy`, `scoring.FittedModel`, `estimators`.
"""
