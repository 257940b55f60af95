"""`python -m admlops` is `admlops`."""

from admlops.cli.start import begin

begin()
