"""Codecs: one file for each way to write an event."""
