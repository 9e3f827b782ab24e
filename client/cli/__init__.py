"""The `fleet` command."""


def main() -> None:
    """Entry point: everything is imported on the way in, so that completion and --help stay quick."""
    from client.cli.app import app  # noqa: PLC0415

    app()
