"""Sends a described load, samples the host meanwhile, and leaves a case; experiments compare two arms of it."""
