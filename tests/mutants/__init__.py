"""Choreographies with one defect each, planted by machine, and what `callboard check` says of them."""
