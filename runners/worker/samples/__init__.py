"""Readers of data sets, one module a data kind, and the form of a sample that all of them give."""
