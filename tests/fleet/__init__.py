"""Many hosts at once: which are unlike the rest, and how a run over all of them is made and resumed."""
