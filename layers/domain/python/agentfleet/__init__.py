"""Agent Fleet: goals, the agents that work on them, and what both stand on."""

import gc

# Loading a function makes 100,000 objects that all stay: looking for garbage among them takes a fifth of a cold start.
gc.set_threshold(50_000, 20, 20)
