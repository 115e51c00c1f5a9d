"""The ledgers: one module for each kind of database."""
