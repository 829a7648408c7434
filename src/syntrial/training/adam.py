"""Adam (Kingma and Ba 2015, algorithm 1), with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

Not torch.optim, because its step imports torch's compiler, which nothing here uses: measured 4 s and 900 modules (torch
2.15) for each training box. The tests compare the results with torch's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-8


class Adam:
    """The optimiser: keeps a running mean of each weight's gradient and of its square.

    Args:
        lr, beta1, beta2: as in the paper.
        weight_decay: each step subtracts `lr` times this share of each weight.
    """

    def __init__(
        self, weights: Iterable[Tensor], lr: float, beta1: float = 0.9, beta2: float = 0.999, weight_decay: float = 0.0
    ) -> None:
        self.weights = list(weights)
        self.lr, self.beta1, self.beta2, self.weight_decay = lr, beta1, beta2, weight_decay
        self.steps = 0
        self.means = [torch.zeros_like(weight) for weight in self.weights]
        self.squares = [torch.zeros_like(weight) for weight in self.weights]

    def zero_grad(self) -> None:
        """Deletes the gradients."""
        for weight in self.weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Makes one update. Every weight must have a gradient."""
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        self.steps += 1
        if self.weight_decay:
            torch._foreach_mul_(self.weights, 1 - self.lr * self.weight_decay)
        torch._foreach_lerp_(self.means, gradients, 1 - self.beta1)
        torch._foreach_mul_(self.squares, self.beta2)
        torch._foreach_addcmul_(self.squares, gradients, gradients, 1 - self.beta2)
        lengths = torch._foreach_sqrt(self.squares)
        torch._foreach_div_(lengths, (1 - self.beta2**self.steps) ** 0.5)
        torch._foreach_add_(lengths, EPSILON)
        torch._foreach_addcdiv_(self.weights, self.means, lengths, -self.lr / (1 - self.beta1**self.steps))

    def state_dict(self) -> dict[str, Any]:
        """The step count and the running means, as tensors and plain values."""
        return {"steps": self.steps, "means": self.means, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads a result of `state_dict`, whose tensors may be on any device."""
        self.steps = int(state["steps"])
        for own, kept in ((self.means, state["means"]), (self.squares, state["squares"])):
            for target, value in zip(own, kept, strict=True):
                target.copy_(value)
