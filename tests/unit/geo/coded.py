"""Segmenters whose every answer shows place and colour, and that workers need no file of the tests for."""

from __future__ import annotations

import os
import signal
import time

import numpy as np


def make_segmenter(kind="plain", note=None, pause=0.0):
    """Made in a function, so that it is sent whole and workers need no file of the tests."""

    class Coded:
        threshold, bands, band_ranges, fill, image_size = 0.5, (), (), (123.0, 116.0, 103.0), 32

        def probabilities(self, windows, expressions):
            real = bool((windows == np.round(windows)).all())  # the test image of the team is noise
            if note is not None and real:
                with open(os.path.join(note, str(os.getpid())), "a") as file:
                    file.write("x")
            if kind == "deadly" and real:
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "broken" and real:
                raise ZeroDivisionError("by its own code")
            time.sleep(pause)
            ramp = np.linspace(0, 1, windows.shape[1], dtype=np.float32)
            plain = np.stack([windows[..., k % 3] / np.float32(255) for k in range(len(expressions))], axis=1)
            found = 0.5 * plain + 0.3 * ramp[:, None] + 0.2 * ramp[None, ::-1] ** 2
            if kind == "nan" and real:
                found[:] = np.nan
            return found + np.float32(os.getpid() / 1e7) if kind == "by process" else found

    class Headed(Coded):
        tells_presence, presence_threshold = True, 0.5

        def probabilities_and_presence(self, windows, expressions):
            found = self.probabilities(windows, expressions)
            return found, found.mean(axis=(2, 3))

    return Headed() if kind == "headed" else Coded()
