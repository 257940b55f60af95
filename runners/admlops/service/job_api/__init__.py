"""The job API, in the shape of RunPod's serverless endpoints, so that their clients work unchanged.

It may import the service's queue, jobs and security, and what the service may. Begin with `routes.py`.
"""
