"""The verbs of the motiontrace command, one module each."""
