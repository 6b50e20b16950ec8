import pytest
import torch

from earsight.network.optimizer import create_optimizer, learning_rate
from earsight.network.settings import OptimizerSettings


def test_warm_up_then_half_a_cosine_to_zero() -> None:
    rate = learning_rate(OptimizerSettings(lr=1.0, warmup_epochs=1), steps_an_epoch=9, epochs=11)
    assert [rate(step) for step in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    assert rate(9) == 1.0
    assert rate(9 + 45) == pytest.approx(0.5)
    assert rate(99) == pytest.approx(0.0)
    assert all(rate(step) >= rate(step + 1) for step in range(9, 98))


def test_constant() -> None:
    rate = learning_rate(OptimizerSettings(lr=0.005, warmup_epochs=0, schedule="constant"), 10, 3)
    assert {rate(step) for step in range(30)} == {0.005}


def test_decay_on_kernels_only() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    for name, kind in (("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)):
        optimizer = create_optimizer(network, OptimizerSettings(name=name, weight_decay=0.1))
        assert type(optimizer) is kind
        decayed = [p for group in optimizer.param_groups if group["weight_decay"] == 0.1 for p in group["params"]]
        assert len(decayed) == 1
        assert decayed[0] is network[0].weight


def test_fused_and_plain_adamw_take_the_same_steps() -> None:
    ends = []
    for fused in (True, False):
        torch.manual_seed(0)
        network = torch.nn.Linear(5, 4)
        optimizer = create_optimizer(network, OptimizerSettings(lr=0.01), fused=fused)
        for _ in range(20):
            optimizer.zero_grad()
            network(torch.linspace(-1, 1, 5)).square().sum().backward()
            optimizer.step()
        assert optimizer.defaults["fused"] is fused
        ends.append(network.weight.detach())
    assert torch.allclose(*ends, atol=1e-6)
    assert ends[0].abs().max() > 0.01
