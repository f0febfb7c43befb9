"""Queries: a generated video and its prompt in, the clips that taught its motion out."""
