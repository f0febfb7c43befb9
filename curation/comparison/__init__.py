"""Base against tuned: generated videos side by side, and their motion measured."""
