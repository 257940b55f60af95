"""What CalibrationStatus is made of: the five channels of its input (`channels`), its network, its training."""
