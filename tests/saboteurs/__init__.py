"""Planted breaks: each takes one line of a promise away, and the tests of that promise must notice."""
