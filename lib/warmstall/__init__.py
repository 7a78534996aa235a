"""Was it a cold start or a warm stall? Evidence from Ollama hosts, turned into verdicts with reasons."""

__version__ = "0.1.0"
