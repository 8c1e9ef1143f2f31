"""One module a revision; `HEAD` in the parent package names the last."""
