"""The method and nothing else: decode, motion weight, model families, loss, gradients, projection, scores."""
