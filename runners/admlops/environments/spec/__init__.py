"""What an environment is specified by: `EnvironmentSpec`, the formats of its locks, and the interpreters found here.

Imports the catalogue and core alone. Begin with `environment_spec`, then `requirements` and `conda_lock`.
"""
