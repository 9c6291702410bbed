"""Use of learned policies outside the toolkit: acting on single observations, export and import."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bilevel import agents
from bilevel.agents import Distribution, Policy, allowed
from bilevel.experiments._files import write_atomic
from games.core import require, stream

FORMAT = "bilevel-policy/1"
KINDS = {
    kind.__name__: kind
    for kind in (
        agents.Convolutional,
        agents.GRU,
        agents.Gaussian,
        agents.MLP,
        agents.Mixture,
        agents.Numbered,
        agents.PolicyWithCritic,
        agents.Softmax,
        agents.SquashedGaussian,
        agents.Tabular,
        agents.ValueTable,
    )
}
"""Classes that a file of policies may name; nothing in the file is executed."""


class AgentPolicy:
    """One agent's policy, as learned in one seed of a run.

    Args:
        policy: policy of all agents.
        distribution: distribution of actions, parametrized by the policy's outputs.
        theta: parameters of all agents, [agent, parameter].
        agent: index of the agent, from 0.

    Raises:
        ValueError: there is no such agent.

    >>> from bilevel import agents
    >>> theta = torch.tensor([[[40.0, 0.0], [0.0, 40.0]]]).flatten(1)  # 1 agent, 2 observations, 2 actions
    >>> table = agents.Tabular(num_observations=2, num_actions=2, every_logit=True)
    >>> policy = AgentPolicy(table, agents.Softmax(2), theta, agent=0)
    >>> policy.act(0), policy.act(1), policy.act(0, mask=[False, True])
    (0, 1, 1)
    """

    def __init__(self, policy: Policy, distribution: Distribution, theta: Tensor, agent: int) -> None:
        require(0 <= agent < len(theta), f"agent must be from 0 to {len(theta) - 1}, not {agent}.")
        self._policy, self._distribution, self._theta, self._agent = policy, distribution, theta, agent
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode: reset the hidden state of a recurrent policy.

        Args:
            seed: seed of subsequent draws, from 0; agents with the same seed draw independently. None: the
                random stream continues.
        """
        self._hidden = self._policy.initial_hidden_state(self._theta, 1)
        if seed is not None or not hasattr(self, "_generator"):
            self._generator = stream(seed or 0, self._agent)

    @torch.no_grad()
    def act(self, observation: Any, mask: Any = None) -> int | np.ndarray:
        """Draw an action.

        Args:
            observation: observation of this agent: a number, an array, or PettingZoo's dict of `observation`
                and `action_mask`.
            mask: legal actions, boolean [action]; None: all, or those of the dict.

        Returns:
            An integer for a Discrete space, an array for a Box.
        """
        if isinstance(observation, Mapping):
            mask = observation.get("action_mask") if mask is None else mask
            observation = observation["observation"]
        observed = torch.as_tensor(observation)
        observed = observed.to(self._theta.dtype) if observed.is_floating_point() else observed
        repeated = observed.expand(len(self._theta), 1, *observed.shape)
        outputs, self._hidden = self._policy.step(self._theta, repeated, self._hidden)
        legal = None if mask is None else torch.as_tensor(mask, dtype=torch.bool)
        drawn = self._distribution.draw(allowed(outputs[self._agent, 0], legal), self._generator)
        action = self._distribution.acted(drawn)
        return action.numpy() if action.is_floating_point() else int(action)


def save_policies(path: Path, policy: Policy, distribution: Distribution, theta: Tensor) -> None:
    """Write all agents' policies (arguments as for `AgentPolicy`) to one file, which `load_policy` reads."""
    content = {
        "format": FORMAT,
        "policy": _to_plain(policy),
        "distribution": _to_plain(distribution),
        "theta": theta.detach().cpu().contiguous(),
    }
    memory = io.BytesIO()
    torch.save(content, memory)
    write_atomic(path, lambda file: file.write(memory.getvalue()))


def load_policy(path: str | Path, agent: int = 0) -> AgentPolicy:
    """Load the policy of an agent from a file of `Run.export`; nothing in it is executed.

    Args:
        path: path of the file.
        agent: index of the agent, from 0.

    Raises:
        ValueError: there is no such file or agent, or it is not a file of policies.

    >>> from bilevel.experiments import train
    >>> train("chicken", "tos", seeds=3, outer_steps=2, out="run").export("policies.pt")
    >>> policy = load_policy("policies.pt", agent=1)
    >>> policy.act(observation=0)
    0
    """
    path = Path(path)
    require(path.is_file(), f"There is no file of policies {path}: write one with run.export({str(path)!r}).")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        require(content["format"] == FORMAT, "It has another format.")
        policy, distribution = _from_plain(content["policy"]), _from_plain(content["distribution"])
        theta: Tensor = content["theta"]
        fits = theta.ndim == 2 and theta.shape[1] == policy.num_parameters
        require(fits and theta.is_floating_point(), "Its parameters do not fit its policy.")
    except Exception as error:  # a damaged file can make the reader fail in any way at all
        raise ValueError(
            f"{path} is no file of policies, or it is damaged; nothing in it was executed."
        ) from error
    return AgentPolicy(policy, distribution, theta, agent)


def _to_plain(part: Any) -> Any:
    if not dataclasses.is_dataclass(part):
        return part
    fields = {field.name: _to_plain(getattr(part, field.name)) for field in dataclasses.fields(part)}
    return {"kind": type(part).__name__, **fields}


def _from_plain(text: Any) -> Any:
    if not isinstance(text, Mapping):
        return text
    fields = {name: _from_plain(value) for name, value in text.items() if name != "kind"}
    return KINDS[text["kind"]](**fields)
