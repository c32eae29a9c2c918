"""Tiers of page stores: what is close at hand, how much room it takes, what goes first."""
