"""The brokers: one module for each kind."""
