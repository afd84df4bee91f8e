"""What the ablation of the other systems compares: each part, and the controls that could show it useless."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Arm:
    """One way to go on training from the same adapter.

    Attributes:
        name: as rows call it.
        parts: of the decoder, as `S4ECAConfig.parts`.
        of: name of the arm that this one is a control of; empty for a part itself.
        bucket: sizes in which a part is meant to help, which decide; ``all`` for all.
        scale_loss: settings of `s4eca.training.scale_loss`, empty for the plain mean.
        what: what it shows, in a phrase.
        boxes: it is judged by its boxes, P@0.5 of them beside that of the boxes of its own masks.
    """

    name: str
    parts: dict[str, Any] = field(default_factory=dict)
    of: str = ""
    bucket: str = "<32"
    scale_loss: dict[str, Any] = field(default_factory=dict)
    what: str = ""
    boxes: bool = False


NOTHING = Arm("none", bucket="all", what="the same updates without any part")
ARMS = (
    NOTHING,
    Arm("detail_stem", {"detail_stem": {}}, what="a finer look at the pixels"),
    Arm("foreground_gate", {"foreground_gate": {}}, what="gates with their auxiliary loss"),
    Arm("context_enhancement", {"context_enhancement": {}}, what="local and global context"),
    Arm("bifusion_neck", {"bifusion_neck": {}}, what="fusion of neighbouring levels, gated by text"),
    Arm("box_head", {"box_head": {}}, what="a box beside the mask, judged by itself", boxes=True),
    Arm("scale_loss", scale_loss={"alpha": 0.5}, what="losses weighed by the gradients of a size"),
    Arm("context and stem", {"context_enhancement": {}, "detail_stem": {}}, what="the two nearest to a gain, together"),
    Arm("stem at half the cells", {"detail_stem": {"level": 1}}, "detail_stem", what="the same parameters, coarser"),
    Arm("auxiliary loss alone", {"foreground_gate": {"gates": False}}, "foreground_gate", what="no gate acts"),
    Arm("gates alone", {"foreground_gate": {"aux": 0.0}}, "foreground_gate", what="no auxiliary loss"),
    Arm("global context", {"context_enhancement": {"branches": "global"}}, "context_enhancement"),
    Arm("local context", {"context_enhancement": {"branches": "local"}}, "context_enhancement"),
    Arm("neck without text", {"bifusion_neck": {"text": "none"}}, "bifusion_neck", what="the gate stays at one half"),
    Arm("plain feature pyramid", {"bifusion_neck": {"direction": "fpn"}}, "bifusion_neck", what="torchvision's"),
    Arm("box without NWD", {"box_head": {"nwd": 0.0}}, "box_head", boxes=True),
    Arm("box without GIoU", {"box_head": {"giou": 0.0}}, "box_head", boxes=True),
    Arm("weights by share", scale_loss={"alpha": 0.5, "measure": "share"}, of="scale_loss", what="by their number"),
    Arm("scale_loss, alpha 1", scale_loss={"alpha": 1.0}, of="scale_loss"),
)
BY_NAME = {arm.name: arm for arm in ARMS}
