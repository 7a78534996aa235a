"""Runbooks: the runner, the journal, the lock, and every action on real processes and files."""
