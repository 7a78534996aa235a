"""What the hosts' own captures show beside the log: memory, limits, settings, processes, other services."""
