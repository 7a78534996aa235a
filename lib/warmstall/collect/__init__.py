"""Captures evidence into a case: one file per source, no interpretation. Nothing is written to the observed host."""
