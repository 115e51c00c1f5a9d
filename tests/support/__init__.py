"""What the tests of the promises stand on: a board driven by hand, a world outside that obeys, a disk that fails."""
