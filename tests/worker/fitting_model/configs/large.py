"""A configuration of the small network."""

queries = 9
lidar = False
