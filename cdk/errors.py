"""What the infrastructure code raises when the project's files are wrong."""


class FleetError(ValueError):
    """fleet.toml, a handler or a requirements file is wrong; the message is meant for the person who wrote it."""
