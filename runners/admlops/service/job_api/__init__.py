"""The job API, in the shape of RunPod's serverless endpoints, so that their clients work unchanged."""
