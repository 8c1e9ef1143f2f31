"""What a model knows about a transaction at the moment it happens, and what each column is made of.

Not here: running the expressions (`adapters/storage/engine.py`) and which days a model learns from (`domain/training`).
"""
