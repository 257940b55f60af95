"""Locks of environments: how an `environment.yml` and a `requirements.in` become exact packages with hashes.

`specification` and `python_inputs` read what is asked for, `solve` and `python_lock` find packages that answer it,
`conda_lock` and `environments.lock` write and read the locks, `check` says offline whether they still answer, and
`record` completes on a machine with a network what could not be known without.
"""
