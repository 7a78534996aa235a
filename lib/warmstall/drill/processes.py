"""What every process of a drill does first: end with its parent, and show Ollama's command line."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """End as soon as the parent has ended, however it ended; 0 means that nobody has to be there.

    On Linux the kernel sends SIGKILL, which a stopped process obeys too. Elsewhere the end of standard input, a pipe
    that the parent holds, is the sign; a stopped process sees it only when it goes on.
    """
    if not parent_pid:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_end_with_input, daemon=True).start()
    if os.getppid() != parent_pid:  # it had ended before we asked
        os._exit(1)


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def show_title(title: str, name: str) -> None:
    """Appear in process tables under that command line and name, as the program that the drill stands for."""
    # Without this it would write over the environment, which /proc shows and collectors read.
    os.environ["SPT_NOENV"] = "1"
    import setproctitle

    setproctitle.setproctitle(title)
    setproctitle.setthreadtitle(name)
