"""Service: the job API, the queue, the dashboard and the health of a pod, over HTTP.

It may import every room but api and cli. Begin with `app.py`, then `queue/jobs.py` (what a job is and who has it).
"""
