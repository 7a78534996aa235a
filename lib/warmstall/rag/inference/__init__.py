"""Who writes the answer, token by token."""
