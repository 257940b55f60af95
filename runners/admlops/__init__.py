"""admlops: run and compare driving-perception models, each in an environment of its own."""

__version__ = "0.2.0"
