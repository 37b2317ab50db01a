"""Who uses this PC, for `domain/redaction.py`: account names, computer names, secrets of the environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from kotaro_bridge.domain.redaction import Identity, Redactor, secret_values

_USERS = ("USERNAME", "USER", "LOGNAME")
_HOMES = ("USERPROFILE", "HOME")
_HOSTS = ("COMPUTERNAME", "HOSTNAME", "USERDOMAIN")


def this_person() -> Identity:
    """The person at this PC, as far as the environment and the system tell. Asks nothing that could block."""
    homes = [Path(os.environ[name]).name for name in _HOMES if os.environ.get(name)]
    users = [os.environ.get(name, "") for name in _USERS] + homes
    hosts = [os.environ.get(name, "") for name in _HOSTS] + [*_node()]
    return Identity(
        _some(users), _some([*hosts, *(host.partition(".")[0] for host in hosts)]), secret_values(os.environ)
    )


def redactor() -> Redactor:
    """A redactor for this person's texts."""
    return Redactor(this_person())


def _some(words: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if word))


def _node() -> tuple[str, ...]:
    """The computer's own name; Windows has it in the environment."""
    if sys.platform == "win32":
        return ()
    return (os.uname().nodename,)
