"""A guard for clients: they wait while memory is short, no call outlasts its deadline, every attempt is recorded."""
