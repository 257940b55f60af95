"""What probes and Prometheus ask of a running service.

It may import what service may. Begin with `routes.py`; `readiness.py` says what ready means, `metrics.py` what is
counted.
"""
