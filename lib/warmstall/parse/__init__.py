"""Text to rows: pure functions, no files, no clock of their own."""
