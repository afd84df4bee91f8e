"""Several processes of one run, forked here, so that they cost nothing to start; and small runs on the toy pair."""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from sizes import SMALL

from s4eca.saved.folder import WEIGHTS
from s4eca.training.module import S4ECAModule


def in_processes(count: int, work: Callable[[int], None]) -> None:
    """Run `work(rank)` in some processes as torchrun would start them; fails where one of them does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [forked(lambda rank=rank: _ranked(rank, count, port, work)) for rank in range(count)]
    codes = []
    for _ in children:
        pid, status = os.wait()
        codes.append(status)
        if status:  # the others would wait for it
            for other in children:
                if other != pid and _lives(other):
                    os.kill(other, signal.SIGKILL)
    assert codes == [0] * count, "a process failed; its output is above"


def forked(work: Callable[[], None]) -> int:
    """Start a process that does some work, and give its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def last(out: Path) -> dict[str, Any]:
    """The last checkpoint of a run."""
    found: dict[str, Any] = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    return found


def killed_at(update: int, train: Callable[[], object], out: Path, monkeypatch: Any) -> None:
    """Begin a run that dies by kill -9 in an update, behind its first checkpoint; it goes on in another process."""
    steps, step = [], S4ECAModule.training_step

    def dying(self: Any, batch: Any, batch_idx: int) -> Any:
        steps.append(batch_idx)
        if len(steps) == update:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, batch, batch_idx)

    def work() -> None:
        monkeypatch.setattr(S4ECAModule, "training_step", dying)
        train()

    _, status = os.waitpid(forked(work), 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert 0 < last(out)["global_step"] < update


def assert_same_end(whole: Path, out: Path, told: str) -> None:
    """Two runs end with the same weights, averages and scores, to the bit."""
    a, b = last(whole), last(out)
    assert a["global_step"] == b["global_step"]
    averages = [one["callbacks"].get("MovingAverage", {}).get("average", {}) for one in (a, b)]
    adapters = [load_file(one / "adapter" / WEIGHTS) for one in (whole, out)]
    for first, second in ((a["state_dict"], b["state_dict"]), averages, adapters):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first), told
    assert (out / "scores.csv").read_text() == (whole / "scores.csv").read_text()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _ranked(rank: int, count: int, port: int, work: Callable[[int], None]) -> None:
    told = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "tests"}
    os.environ |= {name: str(value) for name, value in told.items()}
    torch.set_num_threads(1)
    work(rank)


def toy_run(
    root: Any, out: Path, *, batch: int, devices: int = 1, strategy: Any = "auto", scale: Any = None, **settings: Any
) -> None:
    """Twenty updates and a validation on the toy pair in float64; what came of them is saved as `out`.

    `root` is the folder of a data set, or the settings of several; `scale` the settings of a scale-balanced loss.
    """
    from lightning.pytorch import Callback, Trainer

    from s4eca.budgets.effective import _InDouble
    from s4eca.layers.trainable import trainable_state
    from s4eca.training.averaging import MovingAverage
    from s4eca.training.datamodule import ReferringData
    from s4eca.training.optim import OptimConfig
    from s4eca.training.quick import prepare
    from s4eca.training.scale_loss import ScaleBalancedLoss

    average = MovingAverage(0.8)

    class Keep(Callback):
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.is_global_zero:
                logged = {name: value.clone() for name, value in trainer.callback_metrics.items()}
                left = {"state": trainable_state(pl_module.model), "average": average.average, "logged": logged}
                torch.save(left, out)

    one = {"root": str(root), "layout": "rrsisd", "reader": {"exhaustive": True}}
    where: dict[str, Any] = {"sets": root} if isinstance(root, list) else one
    data = ReferringData(batch_size=batch, symmetries=["IDENTITY", "FLIP_LR"], absent_share=0.3, **where)
    module = prepare(toy_config(**settings), OptimConfig(lr_adapter=3e-3, lr_decoder=3e-3, warmup=4))
    if scale is not None:
        module.scale_loss = ScaleBalancedLoss(scale)
    module = module.double()
    # Rounding to float32 is what Adam makes steps of where a gradient is zero but for it.
    with _InDouble():
        Trainer(
            accelerator="cpu", devices=devices, strategy=strategy, max_steps=20, check_val_every_n_epoch=99,
            logger=False, gradient_clip_val=1.0, num_sanity_val_steps=0, enable_model_summary=False,
            enable_progress_bar=False, enable_checkpointing=False, default_root_dir=out.parent,
            callbacks=[average, Keep()],
        ).fit(module, data)  # fmt: skip


def toy_config(**settings: Any) -> Any:
    from s4eca.config import S4ECA_FIELDS, S4ECAConfig

    if settings.get("method", "s4eca") != "s4eca":
        settings = {**dict.fromkeys(S4ECA_FIELDS), **settings}
    base = S4ECAConfig.from_dict({"vision": "toy:vision", "text": "toy:text", "image_size": 32, **SMALL})
    return S4ECAConfig.from_dict(base.changed(settings))
