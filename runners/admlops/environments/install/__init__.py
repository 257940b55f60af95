"""How an environment is built: an installer fills the prefix, then come Python packages, operations and verification.

Imports spec, integrity and reuse. `installer` is the protocol that conda, venv and extensions implement; begin there,
then read `build`.
"""
