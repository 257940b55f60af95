"""Official numbers from standard records: metrics with their protocol, latency, worst samples, ranking."""
