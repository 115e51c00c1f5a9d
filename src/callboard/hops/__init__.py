"""The four movers of an event: publish, relay, intake, react. Each moves what is there, says how much, and returns."""
