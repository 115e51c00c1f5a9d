"""The drawings of a choreography: one module for each form, each with `draw(choreography) -> str`.

Every edge of the graph is in every drawing; failures, compensations and timers look different from plain events.
"""
