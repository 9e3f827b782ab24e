"""The rules of the platform: frozen models and pure functions. No AWS, no clock, no environment."""
