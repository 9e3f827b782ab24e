"""Benchmarks: what a task costs here, what it costs elsewhere, and what travels over the wire meanwhile."""
