"""Makes locks: an `environment.yml` and a `requirements.in` become exact packages with hashes.

`conda_inputs` and `python_inputs` read what is asked for, `solve` and `python_lock` find packages that answer it,
`check` compares locks with inputs offline, and `record` completes on a machine with a network what could not be known
without. The formats of locks are in `spec`. Imports spec and install. Begin with `variant_locks`.
"""
