"""A user's documents, read, cut into chunks and taken into a store."""
