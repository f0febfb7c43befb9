"""Clips chosen for training by many queries: together or by votes, within a budget, with floors and decisions."""
