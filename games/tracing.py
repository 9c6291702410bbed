"""Whether a compiler is watching."""

from __future__ import annotations

import sys

import torch

TRACER = "torch.fx.experimental.proxy_tensor"


def traced() -> bool:
    """Whether a compiler records the operations under way: `torch.compile`, `torch.export` or `make_fx`.

    Where the tracer's module is not loaded nothing is traced by it, and this does not load it.

    >>> from torch.fx.experimental.proxy_tensor import make_fx
    >>> seen = []
    >>> _ = make_fx(lambda x: seen.append(traced()) or x)(torch.zeros(1))
    >>> traced(), seen
    (False, [True])
    """
    if torch.compiler.is_compiling():
        return True
    tracer = sys.modules.get(TRACER)
    return tracer is not None and tracer.get_proxy_mode() is not None
