"""vector_map."""
