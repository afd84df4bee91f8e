"""What leads a worker to its model: a saved adapter by its name, or a segmenter that is sent along."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from s4eca.errors import AdapterFolderError, ConfigError

if TYPE_CHECKING:
    from s4eca.model.predictor import Predictor
    from s4eca.protocols import Segmenter

AT_WORKERS = ("the precision", "the device", "the encoders' type", "compilation")  # a login node may have no GPU


@dataclass(frozen=True)
class SavedAdapter:
    """A saved adapter that every worker loads for itself, and how it runs there; takes the place of a segmenter.

    Attributes:
        adapter: folder that every worker sees under this name, or ``user/name`` on the hub.
        revision: branch, tag or commit on the hub.
        device, precision, encoder_dtype, compile: as for `s4eca.Predictor` and `s4eca.Running`, of each worker.
        spread: whether workers whose names are numbers, as those of a local cluster, take the GPUs of their machine in
            turn.
        sha256: identity of the adapter, which a worker insists on; None until it is `pinned`.
    """

    adapter: str
    revision: str | None = None
    device: str = "auto"
    precision: str = "fp32"
    encoder_dtype: str = "fp32"
    compile: bool = False
    spread: bool = False
    sha256: str | None = None

    @property
    def key(self) -> str:
        """What a worker knows its model by."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @property
    def free(self) -> tuple[str, ...]:
        """Parts of the fingerprint that the workers decide; they are the same on each."""
        return AT_WORKERS

    def pinned(self) -> SavedAdapter:
        """The same by a name that holds elsewhere, with the identity that it has here.

        Raises:
            AdapterFolderError: there is no such adapter.
        """
        from s4eca.saved.folder import sha256
        from s4eca.saved.locate import locate, on_hub

        folder = locate(self.adapter, self.revision)
        name = self.adapter if on_hub(self.adapter) else str(folder.absolute())
        return replace(self, adapter=name, sha256=sha256(folder))

    def load(self, place: Any = None) -> Predictor:
        """The model, ready to run.

        Args:
            place: name of the worker.

        Raises:
            S4ECAError: it cannot be loaded here, or is another one here.
        """
        from s4eca.model.running import Running

        running = Running(encoder_dtype=self.encoder_dtype, compile=self.compile)
        plain = running == Running()
        return self._load(self._device(place), self.precision, None if plain else running)

    def load_to_ask(self) -> Predictor:
        """The model on the CPU, for what is asked of it but masks."""
        return self._load("cpu", "fp32", None)

    def _load(self, device: str, precision: str, running: Any) -> Predictor:
        from s4eca.model.model import S4ECAModel
        from s4eca.model.predictor import Predictor
        from s4eca.saved.folder import sha256
        from s4eca.saved.locate import locate

        folder = locate(self.adapter, self.revision)
        found = sha256(folder)
        if self.sha256 not in (None, found):
            raise AdapterFolderError(
                f"{self.adapter} is another adapter there ({found[:12]}) than where the run was begun "
                f"({str(self.sha256)[:12]}); give every machine the same one."
            )
        return Predictor(S4ECAModel.from_pretrained(folder), device=device, precision=precision, running=running)

    def _device(self, place: Any) -> str:
        """The device of one worker."""
        import torch

        count = torch.cuda.device_count()
        if self.spread and self.device in ("auto", "cuda") and count > 1 and str(place).isdecimal():
            return f"cuda:{int(place) % count}"
        return self.device


@dataclass(frozen=True)
class Sent:
    """A segmenter as bytes.

    Attributes:
        content: it, pickled.
    """

    content: bytes

    @classmethod
    def of(cls, segmenter: Segmenter) -> Sent:
        """Pack a segmenter.

        Raises:
            ConfigError: it cannot be sent to another process.
        """
        from distributed.protocol.pickle import dumps

        try:
            return cls(dumps(segmenter))
        except Exception as error:  # whatever its own code raises
            raise ConfigError(
                f"The segmenter {type(segmenter).__name__} cannot be sent to workers ({error}); save the adapter and "
                "give a SavedAdapter in its place."
            ) from error

    @property
    def key(self) -> str:
        """What a worker knows its model by."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def free(self) -> tuple[str, ...]:
        """Parts of the fingerprint that the workers decide: none."""
        return ()

    def load(self, place: Any = None) -> Segmenter:
        """The segmenter.

        Args:
            place: name of the worker, which changes nothing.

        Raises:
            ConfigError: it cannot be made here.
        """
        try:
            segmenter: Segmenter = pickle.loads(self.content)
        except Exception as error:  # whatever its own code raises
            reason = f"{type(error).__name__} {error}".splitlines()[0].rstrip(".")
            raise ConfigError(f"the segmenter that was sent cannot be made there: {reason}.") from error
        return segmenter


Recipe = SavedAdapter | Sent
