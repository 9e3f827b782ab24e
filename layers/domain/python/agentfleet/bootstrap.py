"""The only wiring: adapters into services, once per process, at the first call."""
