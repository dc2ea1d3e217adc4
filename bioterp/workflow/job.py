"""A job that starts warm: `python -m bioterp.workflow.job`, and the words of a verb, as bioterp.cli takes them.

It hands its words, folder, environment and open files over to the process that forks (bioterp/forking.py), and ends as
the fork ends. When it is killed, its connection breaks, and the fork goes too.
"""

from __future__ import annotations

import array
import json
import os
import socket
import sys
from pathlib import Path

from bioterp.workflow.warm import AT


def hand_over(words: list[str]) -> int:
    """The exit status of a verb that ran in a fork."""
    request = json.dumps([words, str(Path.cwd()), dict(os.environ)]).encode()
    files = array.array("i", [0, 1, 2])
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.connect(os.environ[AT])
            line.sendmsg([len(request).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
            line.sendall(request)
            told = line.recv(4)
    except OSError:
        told = b""
    if len(told) == 4:
        return int.from_bytes(told, "big")
    print("bioterp: the process that jobs start from has gone; run the same command again", file=sys.stderr)
    return 1


if __name__ == "__main__":
    try:
        sys.exit(hand_over(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
