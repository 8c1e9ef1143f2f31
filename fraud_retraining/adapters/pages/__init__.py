"""Pages and pictures for readers, and the signed links that lead to them.

Not here: what is shown (`domain/review`, `domain/audit`), and serving it (`serving`).
Public: functions of `html`, `pictures.pictures`, `signed_links.ReleaseLinks`.
"""
