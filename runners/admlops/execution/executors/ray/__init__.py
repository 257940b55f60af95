"""The Ray executor: workers on the machines of a Ray cluster, which reach each other.

Ray (the optional extra `admlops[ray]`) places actors and notices lost nodes; all else is ours and the same as on one
machine. Our processes exchange only JSON bytes: every method of an actor takes bytes and returns bytes, so nothing
of ours is ever pickled. Imports the rest of execution but the coordinator. Begin with `executor.py`, then `slot.py`,
which is what runs on a node.
"""
