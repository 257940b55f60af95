"""Installing a conda lock: archives are downloaded and checked here, then put into place by a process of its own.

The cache holds archives, nothing unpacked: an archive is one file whose hash is in the lock and is checked each time
it is used, so that nothing that was edited, cut short or swapped in the cache ever reaches a prefix. `child` unpacks
inside the prefix, with py-rattler and without a network, and links from there; what was unpacked is then removed, so
that the prefix shares no file with anything. Begin with `installer`.
It may import spec and `install.installer`.
"""
