"""The indexes that queries can be asked of."""
