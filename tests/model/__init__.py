"""An executable model of the react group: the rules of the design over an in-memory log, under seeded faults."""
