"""Clips chosen for training by how many queries they influence: votes, a budget, floors, what reviewers decided."""
