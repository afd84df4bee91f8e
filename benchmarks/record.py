"""What stands beside every measured number: the command, the commit, and the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "lightning", "rasterio", "numpy")


def provenance(arguments: list[str] | None = None) -> dict[str, Any]:
    """Command (data and run folders cut to their last part), commit and machine.

    Args:
        arguments: the command line; None takes the one of this process.
    """
    words = [_portable(word) for word in (arguments or sys.argv)]
    return {"command": " ".join(["python", *words]), "commit": commit(), "machine": machine()}


def _portable(word: str) -> str:
    """A word of a command line without the folders that exist on this machine alone."""
    name, equals, value = word.rpartition("=")
    return f"{name}{equals}{Path(value).name if Path(value).is_absolute() else value}"


def commit() -> str:
    """Hash of the checked-out commit, with ``+`` where tracked files differ from it."""
    root = Path(__file__).resolve().parent
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True).stdout.strip()
    changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=root, capture_output=True, text=True).stdout
    return head + ("+" if changed.strip() else "")


def machine() -> dict[str, Any]:
    """Processor, cores, memory and the versions that numbers depend on."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    """Some benchmarks run where not every package is installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def write(path: Path, result: dict[str, Any]) -> None:
    """Write a result atomically, as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(partial, path)
    print(path)
