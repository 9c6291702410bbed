"""Bad settings are refused in one sentence, by name."""

import math

import pytest
import torch
import torchopt

from bilevel import optimizers

REFUSED = {
    "negative rate": (
        lambda: optimizers.sgd(-0.1),
        "learning_rate must be .* at least 0, not -0.1",
    ),
    "rate not a number": (lambda: optimizers.adam(math.nan), "learning_rate must be a finite number"),
    "decay of 1": (lambda: optimizers.momentum(0.1, 1.0), "decay must be at least 0 and below 1, not 1.0"),
    "beta": (lambda: optimizers.adam(0.1, betas=(0.9, 1.5)), r"betas\[1\] must be at least 0 and below 1"),
    "nesterov": (
        lambda: optimizers.momentum(0.1, nesterov=True, dampening=0.5),
        "nesterov needs a decay above 0 and no dampening",
    ),
    "no epsilon": (lambda: optimizers.adam(0.1, epsilon=0.0), "one must be above 0"),
    "no epsilon, rmsprop": (lambda: optimizers.rmsprop(0.1, epsilon=0.0), "epsilon must be above 0, not 0"),
    "momentum of rmsprop": (lambda: optimizers.rmsprop(0.1, momentum=1.0), "momentum must be at least 0"),
    "weight decay": (lambda: optimizers.adamw(0.1, weight_decay=-1.0), "weight_decay must be"),
    "norm": (lambda: optimizers.clip_by_norm(0.0), "max_norm must be a number above 0, not 0.0"),
    "axes": (lambda: optimizers.clip_by_norm(1.0, batch_dims=-1), "batch_dims must be at least 0, not -1"),
    "max_entries": (lambda: optimizers.clip_by_value(math.inf), "limit must be a number above 0, not inf"),
    "members": (
        lambda: optimizers.per_member(optimizers.sgd(0.1), 0),
        "batch_dims must be at least 1, not 0",
    ),
    "name": (lambda: optimizers.make_optimizer("adma"), "no optimizer 'adma'. Did you mean 'adam'"),
    "setting": (lambda: optimizers.make_optimizer("sgd", weight_decy=1), "Did you mean 'weight_decay'"),
}


@pytest.mark.parametrize(("build", "sentence"), REFUSED.values(), ids=REFUSED)
def test_refused(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


def test_weight_decay_asks_for_the_parameters():
    optimizer = optimizers.sgd(0.1, weight_decay=0.1)
    with pytest.raises(ValueError, match="call update"):
        optimizer.update(torch.ones(1), optimizer.init(torch.ones(1)))


@pytest.mark.parametrize("leaves", [[torch.ones(2, 3), torch.ones(4, 3)], [torch.ones(2, 3), torch.ones(())]])
def test_members_share_their_axes(leaves):
    clip = optimizers.clip_by_norm(1.0, batch_dims=1)
    with pytest.raises(ValueError, match="all leaves must share that many leading axes"):
        clip.update(leaves, clip.init(leaves))
    with pytest.raises(ValueError, match="all leaves must share that many leading axes"):
        optimizers.per_member(optimizers.sgd(0.1)).init(leaves)


def test_a_state_of_numbers_cannot_be_split_into_members():
    with pytest.raises(ValueError, match="state of tensors, but it holds a int"):
        optimizers.per_member(torchopt.adamax(0.1)).init(torch.ones(2, 3))
