"""What is taken for granted where a choreography is explored: printed by `callboard check --verbose`."""

ASSUMED = (
    "Each flow by itself: what two flows do to one row or one outside service at the same time is not looked at.",
    "No payloads: a reaction may come out in every way that its return allows, whatever its events carry.",
    "No clock: a timer or a deadline may come at any moment, so also before a step that in truth is much faster.",
    "What the world says (incoming=) comes once or never, at any moment after the flow has begun.",
    "A list carries two events or none; where the return has another word for nothing, it is not empty.",
    "Lists inside of lists are followed two deep.",
    "One delivery of a kind waits at a time: a loop is followed through every order, but not counted.",
    "A compensation that takes `E | None` answers with an event where there is nothing to undo.",
    "A compensation of a pivot that may return None does so where the pivot is done.",
    "That a reaction gives up is followed where somebody hears ReactionFailed of it; CB305 loses each one in turn.",
    "One log: what causes comes before what is caused. `--broker` says where another order would matter (CB601).",
)
