"""Health reports: what one period was like, against objectives, against the usual, and against the last report."""
