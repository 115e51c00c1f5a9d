"""Contracts as files: a service's promises written as JSON, read back without its code, and compared."""
