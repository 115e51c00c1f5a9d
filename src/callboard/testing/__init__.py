"""What anyone can run: the conformance suites for adapters, and what pytest needs for them."""
