"""The services behind servers: who starts them, and how what they run with is changed and seen."""
