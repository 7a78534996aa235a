"""An Ollama-compatible server that fails on purpose: real processes, real signals, known truth. Loopback only."""
