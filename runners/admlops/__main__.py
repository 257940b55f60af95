"""`python -m admlops` is `admlops`."""

from admlops.cli.start import start

start()
