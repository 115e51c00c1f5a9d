"""The checks of a choreography, one a file, each named for what it finds. `catalogue` lists them.

A file holds `CHECK = Check(code=..., find=find, ...)`; `find(subject)` yields findings.
"""
