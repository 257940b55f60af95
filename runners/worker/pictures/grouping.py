"""Where a stream of pictures stands whose batches hold pictures of one shape alone.

A picture waits in its group until the group fills a batch. So what a training has used is not a beginning of the
stream, and one that goes on must know which pictures were waiting.
"""

from typing import Dict, Hashable, Iterator, List, Tuple


def find_waiting(groups: Iterator[Hashable], size: int, batches: int) -> Tuple[List[int], int]:
    """Go through a stream until `batches` of `size` pictures are full.

    Args:
        groups: the group of each picture of the stream.

    Returns:
        The positions that are in no batch yet, in their order, and the position that comes next.
    """
    waiting: Dict[Hashable, List[int]] = {}
    position = 0
    while batches:
        own = waiting.setdefault(next(groups), [])
        own.append(position)
        position += 1
        if len(own) == size:
            own.clear()
            batches -= 1
    return sorted(one for own in waiting.values() for one in own), position
