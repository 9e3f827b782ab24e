"""The CDK app: `cdk synth`, `cdk deploy`. Reads fleet.toml, needs no account and no credentials."""

import sys
from pathlib import Path

from aws_cdk import App

from cdk.catalog import read_fleet
from cdk.composition import compose
from cdk.errors import FleetError


def main() -> None:
    """Synthesize every stack of the fleet; what is wrong in the project's own files ends in one readable message."""
    app = App()
    try:
        compose(app, read_fleet(Path(__file__).parent))
    except FleetError as error:
        sys.exit(f"error: {error}")
    app.synth()


if __name__ == "__main__":
    main()
