"""Whether the files of a prefix are what they were built as.

`walking` lists a prefix, `hashing` hashes its files, `manifest` is the one list of them, `records` reads the lists that
packages brought, `verification` compares. Imports spec and prefix alone. Begin with `manifest`, then `verification`.
"""
