"""What `admlops audit` looks at: known vulnerabilities of locked packages, licences, what checkpoints hold.

It may import what pipeline may, and nothing else of pipeline. Begin with `audit.py`; `locks.py` lists what is locked.
"""
