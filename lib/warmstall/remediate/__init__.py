"""Runbooks: check, plan, ask, act, verify, roll back, record."""
