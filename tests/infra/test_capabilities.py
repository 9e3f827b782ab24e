"""What a handler's source says its agent can do."""

from pathlib import Path

import pytest

from cdk.catalog import read_fleet
from cdk.errors import FleetError
from tests.infra.projects import HANDLER, write_project


def test_decorators_become_the_catalog(tmp_path: Path) -> None:
    """Options, defaults and the docstring's first line; nothing is imported."""
    root = write_project(tmp_path, handler="import a_package_that_is_not_there\n" + HANDLER)

    say, shout = read_fleet(root).pools["echo"].spec.capabilities

    assert (say.name, say.pool, say.description) == ("echo.say", "echo", "Give back the input.")
    assert (say.idempotent, say.timeout, say.chunk) == (True, 5.5, 10)
    assert (shout.idempotent, shout.timeout, shout.chunk) == (False, 60, 1)


DECORATOR = '@agent.capability("echo.say", idempotent=True, timeout=5.5, chunk=10)'
DOCSTRING = '"""Give back the input, louder."""'


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (DECORATOR, "@agent.capability(NAME)", "7: capability takes exactly one positional argument"),
        (DECORATOR, "@agent.capability()", "7: capability takes exactly one positional argument"),
        (DECORATOR, "@agent.capability", "7: capability needs a name"),
        (DECORATOR, '@agent.capability("echo")', "7: capability name 'echo' must be dotted lower case"),
        (DECORATOR, '@agent.capability("Echo.say")', "7: capability name 'Echo.say' must be dotted lower case"),
        (DECORATOR, '@agent.capability("echo.say", timeout=LIMIT)', "7: option timeout must be a literal int or float"),
        (DECORATOR, '@agent.capability("echo.say", timeout=2 * 3)', "7: option timeout must be a literal int or float"),
        (DECORATOR, '@agent.capability("echo.say", timeout=0)', "7: timeout of 'echo.say' is 0; it must be more than 0"),
        (DECORATOR, '@agent.capability("echo.say", timeout=61)', "7: capability 'echo.say' may take 61 s but the pool"),
        (DECORATOR, '@agent.capability("echo.say", idempotent=1)', "7: option idempotent must be a literal bool"),
        (DECORATOR, '@agent.capability("echo.say", chunk=True)', "7: option chunk must be a literal int"),
        (DECORATOR, '@agent.capability("echo.say", chunk=2)', "7: chunk of 'echo.say' is 2, which needs idempotent=True"),
        (DECORATOR, '@agent.capability("echo.say", idempotent=True, chunk=0)', "7: chunk of 'echo.say' is 0; allowed are"),
        (DECORATOR, '@agent.capability("echo.say", cacheable=True)', "7: 'echo.say' is cacheable, which needs idempotent=True"),
        (DECORATOR, '@agent.capability("echo.say", approval="maybe")', "7: approval of 'echo.say' is 'maybe'; it must be 'req"),
        (DECORATOR, '@agent.capability("echo.say", approval=True)', "7: option approval must be a literal str"),
        (
            DECORATOR,
            '@agent.capability("echo.say", idempotent=True, chunk=5, approval="required")',
            "7: chunk of 'echo.say' is 5, but each task is approved alone",
        ),
        (DECORATOR, '@agent.capability("echo.say", undone_by=True)', "7: option undone_by must be a literal str"),
        (
            DECORATOR,
            '@agent.capability("echo.say", undone_by="Take back")',
            "7: undone_by of 'echo.say' is 'Take back'; it must",
        ),
        (DECORATOR, '@agent.capability("echo.say", keep=0)', "7: keep of 'echo.say' is 0; it must be more than 0"),
        (DECORATOR, '@agent.capability("echo.say", retries=2)', "7: unknown capability option 'retries'; allowed are"),
        (DECORATOR, '@agent.capability("echo.say", **OPTIONS)', "7: unknown capability option '**'; allowed are"),
        (DECORATOR, '@agent.capability("echo.shout")', "16: capability 'echo.shout' is declared twice in this pool"),
        (DOCSTRING, '"""   """', "17: capability 'echo.shout' needs a docstring"),
        (DOCSTRING, "pass", "17: capability 'echo.shout' needs a docstring"),
        ('Agent("echo")', 'Agent("other")', "4: Agent('other') must be named like its pool: Agent('echo')"),
        ('Agent("echo")', "Agent(NAME)", "4: agent must be made as Agent('echo')"),
        ('agent = Agent("echo")', "", 'no `agent = Agent("echo")` at module level'),
        ("async def shout(input", "async def shout(", "17: not valid Python"),
    ],
)
def test_a_wrong_declaration_is_named_by_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    """File, line, what is wrong and what is allowed."""
    assert old in HANDLER
    root = write_project(tmp_path, handler=HANDLER.replace(old, new, 1))

    with pytest.raises(FleetError) as error:
        read_fleet(root)

    assert str(error.value).startswith("functions/echo/handler.py")
    assert says in str(error.value)


def test_what_undoes_a_capability_is_declared_and_must_be_there(tmp_path: Path) -> None:
    """By any pool of the fleet."""
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    undone = HANDLER.replace('"echo.shout"', '"echo.shout", undone_by="echo.say"')

    say, shout = read_fleet(write_project(tmp_path / "good", handler=undone)).pools["echo"].spec.capabilities
    with pytest.raises(
        FleetError, match=r"pool echo: echo.shout is undone_by 'echo.sya', which no pool offers; there are echo.say"
    ):
        read_fleet(write_project(tmp_path / "bad", handler=undone.replace('="echo.say"', '="echo.sya"')))

    assert (say.undone_by, shout.undone_by) == (None, "echo.say")


def test_a_pool_that_can_do_nothing_is_an_error(tmp_path: Path) -> None:
    """Its queues would never hold anything."""
    root = write_project(tmp_path, handler='from agentfleet.agent import Agent\nagent = Agent("echo")\n')

    with pytest.raises(FleetError, match="declares no capability"):
        read_fleet(root)
