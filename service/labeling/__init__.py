"""Adapters of data-labelling tools: what they are given to show, and what people say in them."""
