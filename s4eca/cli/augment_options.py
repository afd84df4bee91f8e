"""Options of ``s4eca data show`` that draw samples as training would see them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from s4eca.errors import ConfigError

if TYPE_CHECKING:
    from s4eca.data.augment.settings import Augmentation
    from s4eca.data.augment.symmetries import Symmetry


def add_augmented(parser: argparse.ArgumentParser) -> None:
    """How often and how samples are drawn."""
    parser.add_argument(
        "--augmented", type=int, default=0, metavar="N",
        help="show each expression by itself, and N draws of it as training would see them",
    )  # fmt: skip
    parser.add_argument(
        "--augment", action="append", default=[], metavar="NAME=VALUE",
        help="a setting of data.augment for these draws, may be given several times, for instance reframe=0.5 or "
        "scale=0.75,1.6 (docs/data.md lists them)",
    )  # fmt: skip
    parser.add_argument("--symmetries", metavar="NAME,...", help="symmetries of these draws (default: IDENTITY)")
    parser.add_argument("--image-size", type=int, default=448, metavar="PX", help="side of these draws (default: 448)")


def check_augmented(args: argparse.Namespace) -> None:
    """Refuse settings of draws without draws, and draws that would change nothing.

    Raises:
        ConfigError: the option is named.
    """
    for name, least in (("augmented", 0), ("image-size", 28)):
        if getattr(args, name.replace("-", "_")) < least:
            raise ConfigError(f"--{name} is {getattr(args, name.replace('-', '_'))}; it must be at least {least}.")
    given = next((name for name in ("augment", "symmetries") if getattr(args, name)), None)
    if given is not None and not args.augmented:
        said = " ".join(args.augment) or args.symmetries
        raise ConfigError(f"--{given} is {said}, but nothing is drawn anew; --augmented N says how often.")
    if args.augmented and given is None:
        raise ConfigError(
            f"--augmented is {args.augmented}, but nothing is to be varied; add --augment NAME=VALUE or --symmetries."
        )


def settings_of(words: list[str]) -> Augmentation:
    """``NAME=VALUE`` words as settings.

    Raises:
        ConfigError: an unknown name, one given twice, a value of another kind or outside its range, or synonyms alone.
    """
    from dataclasses import fields

    from s4eca.data.augment.settings import Augmentation

    known = {entry.name: entry.type for entry in fields(Augmentation)}
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name not in known or not equals:
            raise ConfigError(f"--augment is {word!r}; it must be NAME=VALUE with a name of {', '.join(known)}.")
        if name in found:
            raise ConfigError(f"--augment names {name!r} twice; give it once.")
        found[name] = _value(name, value)
    settings = Augmentation(**found)
    if settings.synonyms and not settings.reframe:
        raise ConfigError("--augment names synonyms, which only reframe asks for; add --augment reframe=1.")
    return settings


def _value(name: str, value: str) -> Any:
    """A number, [least, most] with a comma between, or noun:class pairs with commas between."""
    parts = [part.strip() for part in value.split(",")]
    if name == "synonyms":
        parts = [part.strip() for part in value.strip().removeprefix("{").removesuffix("}").split(",")]  # as in YAML
        return dict((noun.strip(), category.strip()) for noun, _, category in (part.partition(":") for part in parts))
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        raise ConfigError(f"--augment {name} is {value!r}; it must be a number, or two with a comma.") from None
    pair = name in ("scale", "sigma", "veil")
    if len(numbers) != 1 + pair:
        wanted = "two numbers with a comma, as in 0.75,1.6" if pair else "one number"
        raise ConfigError(f"--augment {name} is {value!r}; it must be {wanted}.")
    return numbers if pair else numbers[0]


def symmetries_of(text: str | None) -> tuple[Symmetry, ...]:
    """The symmetries that a text names.

    Raises:
        ConfigError: one of them is none.
    """
    from s4eca.data.augment.symmetries import Symmetry

    names = [name.strip() for name in (text or "IDENTITY").split(",")]
    unknown = [name for name in names if name not in Symmetry.__members__]
    if unknown:
        raise ConfigError(f"--symmetries has {unknown[0]!r}; it must be of {', '.join(Symmetry.__members__)}.")
    return tuple(Symmetry[name] for name in names)
