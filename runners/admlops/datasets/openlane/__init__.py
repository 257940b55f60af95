"""openlane."""
