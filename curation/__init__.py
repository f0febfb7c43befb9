"""Choosing clips by their influence, training on them, and seeing what it changed."""
