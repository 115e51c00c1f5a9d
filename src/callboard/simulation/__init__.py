"""The user's own services under seeded faults, in virtual time: worlds, oracles, and stories of what broke."""
