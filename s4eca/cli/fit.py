r"""Training from a configuration file; the line after the verb is LightningCLI's.

For instance, a run and how to go on with it:
    s4eca fit -c configs/vhr10_ref.yaml --data.root DATA --run.out runs/vhr10
    s4eca fit -c configs/vhr10_ref.yaml --data.root DATA --run.out runs/vhr10 \
        --ckpt_path runs/vhr10/checkpoints/last.ckpt
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from s4eca.errors import ConfigError


def run_lightning(verb: str, rest: list[str]) -> int:
    """Print the short help, or hand fit, validate or test to LightningCLI.

    Args:
        verb: one of the three.
        rest: the words after it; a configuration that is not a file is looked up among the packaged ones.

    Raises:
        ConfigError: the configuration file does not exist.
    """
    if not rest or "-h" in rest or "--help" in rest:
        from s4eca.cli.fit_help import short_help

        print(short_help(verb, packaged_configs()))
        return 0
    rest = ["--help" if word == "--help=all" else word for word in _with_packaged_configs(rest)]
    from s4eca.training.lightning_cli import run_lightning as run

    return run(verb, rest)


def packaged_configs() -> dict[str, Path]:
    """Configurations that come with the package, by file name."""
    folder = Path(str(resources.files("s4eca") / "configs"))
    return {path.name: path for path in sorted(folder.glob("*.yaml"))}


def _with_packaged_configs(rest: list[str]) -> list[str]:
    """Replace ``-c NAME`` by the packaged file where no such file exists here."""
    words = list(rest)
    for place, word in enumerate(words[:-1]):
        if word not in ("-c", "--config"):
            continue
        path = Path(words[place + 1])
        if path.is_file():
            continue
        found = packaged_configs().get(path.name)
        if found is None:
            names = ", ".join(packaged_configs()) or "none"
            raise ConfigError(f"The configuration {path} does not exist; packaged ones: {names}.")
        words[place + 1] = str(found)
    return words
