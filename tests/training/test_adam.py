"""Our Adam is torch's Adam."""

import subprocess
import sys

import pytest
import torch

from syntrial.training.adam import Adam


def weights():
    torch.manual_seed(0)
    return [torch.randn(5, 3, requires_grad=True), torch.randn(7, requires_grad=True)]


def descend(parameters, optimiser, steps):
    for step in range(steps):
        optimiser.zero_grad()
        sum(((weight * (step + 1)).sin() ** 2).sum() for weight in parameters).backward()
        optimiser.step()


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_goes_where_torch_goes(decay):
    ours, theirs = weights(), weights()
    descend(ours, Adam(ours, 0.01, 0.5, 0.99, decay), 50)
    descend(theirs, torch.optim.AdamW(theirs, 0.01, (0.5, 0.99), weight_decay=decay), 50)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_restored_optimiser_goes_on_bit_for_bit():
    whole, cut = weights(), weights()
    optimiser = Adam(whole, 0.01)
    descend(whole, optimiser, 5)
    state = {
        "steps": optimiser.steps,
        **{k: [t.clone() for t in optimiser.state_dict()[k]] for k in ("means", "squares")},
    }
    with torch.no_grad():
        for target, value in zip(cut, whole, strict=True):
            target.copy_(value)
    other = Adam(cut, 0.01)
    other.load_state_dict(state)
    descend(whole, optimiser, 5)
    descend(cut, other, 5)
    assert all(torch.equal(one, other) for one, other in zip(whole, cut, strict=True))


def test_training_does_not_import_torchs_compiler():
    code = (
        "import sys, torch; from syntrial.training.adam import Adam; w = torch.ones(2, requires_grad=True);"
        "o = Adam([w], 0.1);"
        "o.zero_grad(); w.sum().backward(); o.step(); sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
