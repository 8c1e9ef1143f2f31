"""Settings that are proposed for data that is looked at for the first time: what its columns are, and what fits them.

Here: guesses from names and counts, with the facts that each rests on. Not here: reading the data
(`adapters/storage/profiles.py`, `feed_profiles.py`), asking whoever set it up (`commands/init.py`), and what a setting
means (the policy that holds it).

Public: `facts.ColumnFacts`, `facts.DayFacts`, `facts.FeedFacts`, `roles.Choices`, `roles.decide_roles`,
`feed.decide_feed`, `table.decide_days`, `volumes.proposed_volumes`, `settings_text.settings_text`.
"""
