"""The offline job: manifest -> motion gradients -> catalog."""
