"""What the tests of the promises stand on: a board driven by hand, keepers that are told what to do, a ledger that fails."""
