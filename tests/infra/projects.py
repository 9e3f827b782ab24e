"""Small projects on disk, for what reads a project."""

import shutil
from pathlib import Path

STATE_MACHINES = Path(__file__).parents[2] / "statemachines"

FLEET = """
[fleet]
name = "tiny"

[pools.echo]
description = "Gives back what it gets"
"""

HANDLER = '''
from agentfleet.agent import Agent

agent = Agent("echo")


@agent.capability("echo.say", idempotent=True, timeout=5.5, chunk=10)
def say(input: dict) -> dict:
    """Give back the input.

    This line is not for planners.
    """
    return input


@agent.capability("echo.shout")
async def shout(input: dict) -> dict:
    """Give back the input, louder."""
    return input
'''

WORKERS = (
    *("accept_goals", "release_tasks", "heal_work", "compensate_goals", "manage_fleet"),
    *("serve_api", "serve_mcp", "authorize_request", "record_history", "archive_history", "remember_goals"),
)


def write_project(root: Path, fleet: str = FLEET, handler: str = HANDLER) -> Path:
    """A project with one pool, `echo`, that the CDK can synthesize; its layers hold next to nothing."""
    (root / "fleet.toml").write_text(fleet)
    for folder, body in {"echo": handler, **dict.fromkeys(WORKERS, "def handler(event, context): ...")}.items():
        (root / "functions" / folder).mkdir(parents=True)
        (root / "functions" / folder / "handler.py").write_text(body)
    package = root / "layers" / "domain" / "python" / "agentfleet"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""Stands for the package."""\n')
    (root / "layers" / "dependencies").mkdir()
    (root / "layers" / "dependencies" / "core.txt").write_text("annotated-types==0.8.0\n")
    (root / "layers" / "dependencies" / "mcp.txt").write_text("annotated-types==0.8.0\n")
    (root / "layers" / "dependencies" / "extra.txt").write_text("annotated-types==0.8.0\n")
    (root / "playbooks").mkdir()
    shutil.copytree(STATE_MACHINES, root / "statemachines")
    return root
