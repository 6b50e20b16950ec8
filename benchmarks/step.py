"""One training step, variant by variant, interleaved: which defaults pay on this machine.

default: channels-last, one fused kernel for AdamW, 32 bits. The others change one thing. Medians (min–max) of the
rounds and of their ratios: above 1 the variant is slower.
"""

import argparse
import copy
import statistics

import torch

from earsight.network.classifier import Classifier
from earsight.network.depthwise import Depthwise
from earsight.network.optimizer import create_optimizer
from earsight.tasks.bench import interleaved, ratios, spread
from earsight.tasks.machine.cores import allowed_cores
from earsight.tasks.machine.devices import Machine
from earsight.tasks.machine.memory import keep_freed_memory
from earsight.tasks.recipe import Recipe
from earsight.tasks.training.learner import Learner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append")
    parser.add_argument("--recipe", default="default", help="whose images")
    parser.add_argument("--batch-size", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="that variant too; it takes minutes")
    arguments = parser.parse_args()
    torch.set_num_threads(allowed_cores())
    keep_freed_memory()
    for model in arguments.model or ["tf_efficientnet_lite0"]:
        for batch_size in arguments.batch_size or [8, 32]:
            network = {"model": model, "pretrained": False}
            measure(Recipe.named(arguments.recipe, {"network": network, "batch_size": batch_size}), arguments)


def measure(recipe: Recipe, arguments: argparse.Namespace) -> None:
    learners = {"default": learner(recipe, Machine(arguments.device))}
    device = learners["default"].fabric.device
    size = learners["default"].classifier.image.image_size(recipe.audio.crop_samples)
    contiguous = learners["rows of pixels (NCHW)"] = learner(recipe, Machine(arguments.device))
    contiguous.classifier.network.to(memory_format=torch.contiguous_format)
    loop = learners["AdamW parameter by parameter"] = learner(recipe, Machine(arguments.device))
    plain = create_optimizer(loop.classifier.network, recipe.optimizer, fused=False)
    loop.optimizer = loop.fabric.setup_optimizers(plain)
    slow = learners["depthwise gradients of torch"] = learner(recipe, Machine(arguments.device))
    for module in slow.classifier.network.modules():
        if isinstance(module, Depthwise):
            module.__class__ = torch.nn.Conv2d
    learners["bf16"] = learner(recipe, Machine(arguments.device, precision="bf16-mixed"))
    if arguments.compile:
        learners["compiled"] = learner(recipe, Machine(arguments.device, compiled=True))
    images = torch.randn(recipe.batch_size, 1, *size, device=device)
    targets = torch.eye(2, device=device)[torch.arange(recipe.batch_size) % 2]
    ways = {name: (lambda one=one: one.step(images, targets)) for name, one in learners.items()}
    found = interleaved(ways, arguments.rounds, device.type)
    print(f"{recipe.network.model}, batch {recipe.batch_size}, image {size[0]}×{size[1]}, {device}")
    for name, seconds in found.items():
        how_long = f"{1000 * statistics.median(seconds):.0f} ms ({1000 * min(seconds):.0f}–{1000 * max(seconds):.0f})"
        print(f"  {name:30}{how_long:>20}  {spread(ratios(seconds, found['default']), 2)}", flush=True)


def learner(recipe: Recipe, machine: Machine) -> Learner:
    torch.manual_seed(0)
    classifier = Classifier(("a", "b"), recipe.audio, recipe.mel, copy.deepcopy(recipe.network))
    one = Learner.of(machine.fabric(), classifier, recipe, compiled=machine.compiled)
    one.classifier.train()
    return one


if __name__ == "__main__":
    main()
