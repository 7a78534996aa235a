"""What happened to each request: its loads, its wait, where its seconds went, and one verdict, by columns."""
