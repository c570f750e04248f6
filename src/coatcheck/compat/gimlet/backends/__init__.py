"""The backends that store records, one per module."""
