"""The whole way: run, evaluate, compare, report."""
