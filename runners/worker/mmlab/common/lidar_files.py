"""The LiDAR's files, looked at before a pipeline reads them."""

from typing import List

from ...samples.errors import DataError

POINT_FEATURES = 5
"""x, y, z [m], intensity and the ring's number: what nuScenes' LiDAR files hold of each point."""
POINT_BYTES = 4 * POINT_FEATURES


def check_points(paths: List[str]) -> None:
    """Raise DataError for a LiDAR file that cannot be read, is empty, or does not hold whole points."""
    for path in paths:
        try:
            with open(path, "rb") as file:
                size = file.seek(0, 2)
        except OSError as error:
            raise DataError("the LiDAR file {} cannot be read: {}".format(path, error.strerror)) from error
        if not size or size % POINT_BYTES:
            raise DataError(
                "the LiDAR file {} is not whole: {} bytes are no multiple of {}, five numbers of a point".format(
                    path, size, POINT_BYTES
                )
                if size
                else "the LiDAR file {} is empty".format(path)
            )
