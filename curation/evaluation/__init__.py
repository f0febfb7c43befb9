"""Does influence predict training? Measured by training, beside every cheaper way to choose clips."""
