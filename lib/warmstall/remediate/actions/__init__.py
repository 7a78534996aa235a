"""What runbooks do: one file a runbook, and beside them what several of them look at."""
