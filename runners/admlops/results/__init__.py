"""What a run leaves behind: standard records, run folders, and an index over them."""
