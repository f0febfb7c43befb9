"""What reviewers said of clips."""
