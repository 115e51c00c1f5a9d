"""50,000 flows in flight against 1,000."""

from __future__ import annotations

from benchmarks.measure import Side, pairs, spread
from benchmarks.rows import Answer, Options, Row, tell_rates


def measure(options: Options) -> Answer:
    """So many callers, each of which waits for the verdict of its order before it goes on to the next."""
    orders = options.size(50_000, 2_000)
    many, few = options.size(50_000, 1_000), options.size(1_000, 100)
    made = "benchmarks.workload:run"
    ours = Side(f"{many:,} in flight", made, {"orders": orders, "in_flight": many, "until": "completed"})
    theirs = Side(f"{few:,} in flight", made, {"orders": orders, "in_flight": few, "until": "completed"})
    found = pairs(ours, theirs, min(options.count, 3), tell=options.tell)
    memory = [spread([each["memory"] for each in side]) for side in zip(*found, strict=True)]
    return Answer(
        [a["rate"] / b["rate"] for a, b in found],
        [b["cpu"] / a["cpu"] for a, b in found],
        [*tell_rates((ours, theirs), found), f"peak memory: {memory[0]:.0f} MB against {memory[1]:.0f} MB"],
    )


ROW = Row("crowd", "50,000 flows in flight against 1,000, each waited for", 0.75, 0.9, measure)
