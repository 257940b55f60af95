"""Environments built from hashed locks: plan, build, verify, activate."""
