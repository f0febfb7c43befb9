"""Label Studio: clips pushed into its projects, and what reviewers say there taken over as labels."""
