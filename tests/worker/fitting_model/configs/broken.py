"""A configuration of the small network."""

queries = -1
lidar = False
