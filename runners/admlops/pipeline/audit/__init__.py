"""What `admlops audit` looks at: known vulnerabilities of locked packages, licences, what checkpoints hold.

Begin with `audit.py`; `locks.py` lists what is locked.
"""
