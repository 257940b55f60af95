"""A configuration of the small network."""

queries = 6
lidar = False
