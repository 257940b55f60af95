"""The dashboard's pages, a module each: a handler reads, and a template shows."""
