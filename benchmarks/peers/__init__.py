"""The reference workload, written for each peer as its documentation would have it. Runs in the venv of the peers."""
