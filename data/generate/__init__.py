"""Writes the reference incidents anew: each a seeded reconstruction of an incident from its published figures."""
