"""Samples read ahead by processes of the worker's own, so that the network never waits for pictures to be decoded.

They are forked from the loaded worker, get what `Adapter.describe` says of a sample and hand over what `Adapter.read`
makes of it through shared memory: arrays as they lie, and JSON that says where. It imports the rest of `worker` and the
standard library; numpy and torch are only used where a sample holds their arrays. Begin with `reader.py`.
"""
