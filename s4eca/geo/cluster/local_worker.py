"""Loaded by the processes of a cluster on this machine before they are anything else."""

from __future__ import annotations

import signal
import threading

# Ctrl-C reaches every process of a terminal; the one that began the run keeps what is finished and ends the others.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
