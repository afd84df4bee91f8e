"""The type of arithmetic that fits a machine: bf16 where its hardware multiplies that faster, fp32 elsewhere.

Decided by what the hardware says of itself and not by a timing at run time: a timing changes with what else the machine
does, and a run that goes on elsewhere, or a second process of it, would come to another answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Fitting:
    """What fits a device.

    Attributes:
        precision: ``bf16`` or ``fp32``.
        reason: why, as a part of a sentence.
    """

    precision: str
    reason: str

    @property
    def sentence(self) -> str:
        """What is said of the choice."""
        return f"precision auto takes {self.precision}: {self.reason}."


def fitting_precision(device: torch.device | str) -> Fitting:
    """The faster of bf16 and fp32 for the sums of a device (autocast; weights and norms stay in fp32).

    bf16 on GPUs that multiply it in hardware (CUDA from Ampere, ROCm), and on x86 CPUs with AMX or AVX-512 BF16. On the
    latter matrices were multiplied 2.2 to 3.3 times and updates computed 1.2 to 1.4 times as fast
    (benchmarks/results/precision.json).

    Args:
        device: the device, or its type.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        name = torch.cuda.get_device_name(device)
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Fitting("bf16", f"{name} multiplies it in hardware")
        return Fitting("fp32", f"{name} has no bf16 in hardware")
    if kind != "cpu":
        return Fitting("fp32", f"bf16 is not known to be faster on {kind}")
    flags = cpu_flags()
    for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512 BF16")):
        if flag in flags:
            return Fitting("bf16", f"this CPU has {name}")
    return Fitting("fp32", "this CPU has neither AMX nor AVX-512 BF16")


def cpu_flags() -> set[str]:
    """Of ``amx_bf16`` and ``avx512_bf16`` those that this CPU has and torch uses."""
    # Newer versions of torch say the same in public (torch.cpu.get_capabilities), the oldest that we take does not.
    asked = {"amx_bf16": torch.cpu._is_amx_tile_supported, "avx512_bf16": torch.cpu._is_avx512_bf16_supported}
    return {name for name, has in asked.items() if has()}
