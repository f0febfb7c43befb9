"""The training clips that the catalog knows."""
