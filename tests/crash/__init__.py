"""The kill loop: real processes on one ledger, killed, paused and restarted while work is unfinished."""
