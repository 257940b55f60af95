"""`python -m admlops` is `admlops`."""

from admlops.cli.main import main

main()
