"""Clips chosen for training by what many queries say: together or by votes, a budget, floors, reviewers' decisions."""
