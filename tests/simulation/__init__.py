"""A deterministic simulation: the real services over simulated tables, queues, bus and clock, all driven by one seed."""
