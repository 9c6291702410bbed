"""Learn the weights of losses around a training loop that is already there."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from bilevel.core import leaves, outer_step
from bilevel.hypergradient import Estimator
from bilevel.loss_weights._absent import Seen, keeping_absent, noting_losses
from bilevel.loss_weights._checks import (
    FIRST,
    require_counts,
    require_differentiable_mode,
    require_fitting,
    require_function,
    require_learnable,
    require_moved,
    require_no_autocast,
    require_repeatable,
)
from bilevel.loss_weights._clipping import Clipping
from bilevel.loss_weights._distributed import Processes
from bilevel.loss_weights._history import History
from bilevel.loss_weights._hypergradients import (
    CALLS_ONCE,
    ESTIMATORS,
    ONE_STEP,
    SHARING,
    Descended,
    LookAhead,
    Loss,
    MetaGradient,
    Own,
    TrainLosses,
)
from bilevel.loss_weights._implicit import Implicit
from bilevel.loss_weights._lifted import (
    LiftedOptimizer,
    check_lifts,
    parameters_of,
    refusing_scalers,
    require_stepping,
)
from bilevel.loss_weights._module_state import outer_now
from bilevel.loss_weights._random_streams import drawing_from, validation_seed
from bilevel.loss_weights._through_step import ThroughStep, make_estimator
from bilevel.loss_weights._torch_kernels import composite_kernels, lacks_derivative
from bilevel.loss_weights._weights import HyperParameter, Learned
from bilevel.loss_weights._world import Moment, World
from games.core import require, require_name


class StepResult(NamedTuple):
    """What happened in a step."""

    loss: Tensor
    """The weighted training loss that was descended; detached."""
    validation_loss: Tensor | None
    """After the virtual steps, if there are any; None in steps between two outer ones."""


class LossWeightTuner:
    """Trains a model with an optimizer, and learns how its losses are weighed from a validation loss.

    A step looks ahead first: it copies the model and the optimizer's state, takes `virtual_steps` steps with
    the weights as they are, and moves the weights down the gradient that the validation loss then has in
    them. Then the model takes its own step, with the new weights. The losses are functions of no arguments
    that use the model as they always did; they are called once more for the look ahead, with its parameters
    exchanged, and with the same random draws.

    Or the other way round: with `first="model"` the model takes the first virtual step for its own, and the
    weights move after it, for the next one. That costs one gradient less in every outer step.

    With outer learning rate 0 the model learns what it would have learned without the tuner, bit for bit.

    Args:
        model: the module that the losses use; several as a list.
        optimizer: of the model's parameters, one of torch's (SGD, Adam, AdamW, RMSprop, ...) or a subclass
            that leaves the step as it is, also as Accelerate or Lightning wraps it, in the middle of a run.
        weights: `LossWeights`, `SampleWeights`, or any module that turns what the training losses give into
            one number.
        outer_optimizer: of the weights' parameters, any of torch's.
        also: learned hyper-parameters that the training losses read, as a temperature.
        learning_rate: a learned learning rate, in the place of the optimizer's, in every group.
        virtual_steps: how many steps the look ahead takes, 1 or more.
        first: what moves first in an outer step, the weights or the model. The model can where an estimator
            keeps the gradient of the first virtual step: unrolled, directional and finite-difference do.
        every: the weights move in every so-many-th step, 1 or more.
        accumulate: parts of a batch whose gradients are averaged for a step, 1 or more.
        max_norm: gradients are scaled down to this norm; None: they are not.
        max_value: each entry of a gradient is cut off at plus and minus this; None: it is not.
        estimator: how the meta-gradient is taken: unrolled, exact for any number of steps; directional, exact
            and cheaper in memory for one; finite-difference; implicit, at the model as it is, or `Implicit`
            with other settings than three terms of a Neumann series; or one of `bilevel.hypergradient`, by
            its name with settings, as in "truncated(steps=5)", or itself.

    Raises:
        ValueError: a setting is out of range, the optimizer cannot be lifted, the outer optimizer moves
            something else than what is learned, or the model's optimizer moves it too.

    Source:
        The virtual step: Liu et al., DARTS, arXiv 1806.09055; Shu et al., Meta-Weight-Net, arXiv 1902.07379.
        The model first: Luketina et al., Scalable gradient-based tuning, arXiv 1511.06727.

    Weights of two targets, one right and one wrong; what counts is the right one:

    >>> from bilevel.loss_weights import LossWeights, LossWeightTuner
    >>> guess = nn.Linear(1, 1, bias=False)
    >>> weights = LossWeights(["right", "wrong"])
    >>> tuner = LossWeightTuner(
    ...     guess,
    ...     torch.optim.SGD(guess.parameters(), lr=0.1),
    ...     weights,
    ...     torch.optim.Adam(weights.parameters(), lr=0.1),
    ... )
    >>> one = torch.ones(1)
    >>> losses = lambda: {"right": (guess(one) - 3).square().sum(), "wrong": (guess(one) + 3).square().sum()}
    >>> for _ in range(50):
    ...     _ = tuner.step(losses, lambda: (guess(one) - 3).square().sum())
    >>> learned = weights.as_dict()
    >>> learned["right"] > 2 * learned["wrong"]
    True
    """

    def __init__(
        self,
        model: nn.Module | Sequence[nn.Module],
        optimizer: torch.optim.Optimizer,
        weights: nn.Module,
        outer_optimizer: torch.optim.Optimizer,
        *,
        also: Sequence[nn.Module] = (),
        learning_rate: HyperParameter | None = None,
        virtual_steps: int = 1,
        first: Literal["weights", "model"] = "weights",
        every: int = 1,
        accumulate: int = 1,
        max_norm: float | None = None,
        max_value: float | None = None,
        estimator: str | Implicit | Estimator = "unrolled",
    ) -> None:
        require_counts(virtual_steps=virtual_steps, every=every, accumulate=accumulate)
        require_name(first, FIRST, "value of first,")
        chosen = make_estimator(estimator)
        named = (
            "implicit"
            if isinstance(chosen, Implicit)
            else estimator
            if isinstance(estimator, str)
            else type(estimator).__name__
        )
        require_fitting(
            named,
            implicit=isinstance(chosen, Implicit),
            virtual_steps=virtual_steps,
            learns_rate=learning_rate is not None,
            also=bool(also),
            model_first=first == "model",
        )
        check_lifts(optimizer)
        models = [model] if isinstance(model, nn.Module) else list(model)
        self.processes = Processes(models)
        require(
            not self.processes or named in SHARING,
            f"The estimator {named} does not average over the processes of DistributedDataParallel; "
            f"{', '.join(SHARING)} do.",
        )
        self.world = World(models, optimizer)
        self.optimizer, self.weights, self.outer_optimizer = optimizer, weights, outer_optimizer
        self.learning_rate = learning_rate
        self.learned = nn.ModuleList([weights, *also, *([learning_rate] if learning_rate else [])])
        self.virtual_steps, self.every, self.accumulate = virtual_steps, every, accumulate
        self.model_first = first == "model"
        self.clipping = Clipping(max_norm, max_value)
        self.estimator, self.estimator_name = chosen, named
        self.shares = named in SHARING or named in CALLS_ONCE
        self.composite = isinstance(chosen, ThroughStep)
        """Whether look-aheads do without fused kernels, as attention's, that lack a derivative: found out."""
        self._checked_calls = False
        self.outer = parameters_of(outer_optimizer)
        self._known = [module for module in self.learned.modules() if isinstance(module, Learned)]
        self.steps, self.history = 0, History()
        self._seen: Seen = {}
        self._rate: float | None = None  # the learned one, as it was last written into the optimizer
        self.validation_seed: int | None = None
        """Of the random draws of validation losses; None before the first outer step."""
        self._check_parameters()
        self.processes.begin([*self.learned.parameters(), *self.learned.buffers()])

    @refusing_scalers()
    def step(
        self,
        train_losses: TrainLosses | Sequence[TrainLosses],
        validation_loss: Loss,
    ) -> StepResult:
        """Look ahead, move the weights, and train the model by one step, in the order that `first` says.

        Args:
            train_losses: gives the losses on a batch. With several virtual steps, or parts of a batch, a list
                of `virtual_steps` times `accumulate` such functions, step by step; the model itself takes the
                first step.
            validation_loss: gives the loss that the weights are to lower: one number. Its random draws come
                from a stream of its own, which goes on from step to step; training draws what it draws in
                a plain loop.

        Raises:
            ValueError: the wrong number of functions; a loss is detached or not one number; the validation
                loss depends on no weight; a module changes parameters in place (says which).
                It may also be that a hook, a buffer or an attribute cannot be followed (says which).
            FloatingPointError: a loss, a gradient of the model or a hypergradient is not finite, in this step
                or, where the weights rest, in the model's own; nothing was changed.
        """
        check_lifts(self.optimizer)
        require_stepping(self.optimizer)
        batches = self._batches(train_losses)
        require_function("validation_loss", validation_loss)
        require_differentiable_mode()
        self._require_own_rate()
        with torch.enable_grad():
            return self._step(batches, validation_loss)

    def _step(self, batches: list[list[TrainLosses]], validation_loss: Loss) -> StepResult:
        self.world.look_again()
        before, outer = self.world.now(), self.steps % self.every == 0
        learned = outer_now(self.outer_optimizer) if outer else None
        try:
            if outer:
                result = self._outer_step(batches, validation_loss, before)
            else:
                result = StepResult(self._train(batches[0], None), None)
        except BaseException:
            self.world.go_back(before)
            self.optimizer.zero_grad()
            if learned is not None:
                learned()
            raise
        self.advance()
        if result.validation_loss is not None:
            self.history.add(self.steps, self.learned_values(), float(result.validation_loss))
        return result

    @refusing_scalers()
    def look_ahead(
        self, train_losses: TrainLosses | Sequence[TrainLosses], validation_loss: Loss
    ) -> Tensor | None:
        """Look ahead and move the weights, and leave the model's own step to the caller.

        For trainers that take every step themselves (`bilevel.loss_weights._lightning`, and
        `bilevel.loss_weights._transformers`): they weigh the losses with the weights as they then are, take
        the step, and call `advance`. Losses are called once more than in `step`.

        Args:
            train_losses: as of `step`.
            validation_loss: as of `step`.

        Returns:
            the validation loss after the virtual steps; None in a step between two outer ones.

        Raises:
            ValueError: as `step`; or the model is to move first.
            FloatingPointError: as `step`.
        """
        require(
            not self.model_first,
            'look_ahead leaves the model\'s step to you, and so does its place: leave out first="model".',
        )
        check_lifts(self.optimizer)
        batches = self._batches(train_losses)
        require_function("validation_loss", validation_loss)
        require_differentiable_mode()
        self._require_own_rate()
        if self.steps % self.every:
            return None
        self.world.look_again()
        before = self.world.now()
        self._seed()
        try:
            with torch.enable_grad(), noting_losses(self._known) as self._seen:
                _, found = self._find(batches, validation_loss, before)
        finally:
            self.world.go_back(before)
        self._move_weights(found.gradient)
        self._set_rate()
        self.history.add(self.steps + 1, self.learned_values(), float(found.validation_loss))
        return found.validation_loss

    def advance(self) -> None:
        """Count a step of the model; `step` does so itself."""
        self.steps += 1
        for module in self._known:
            module.advance()

    def learned_values(self) -> dict[str, float]:
        """What is learned, as it is now: name -> value."""
        return {name: value for module in self._known for name, value in module.as_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the tuner adds to a run; the model's and its optimizer's are saved beside it."""
        return {
            "learned": self.learned.state_dict(),
            "outer_optimizer": self.outer_optimizer.state_dict(),
            "steps": self.steps,
            "validation_seed": self.validation_seed,
            "history": self.history.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where a state was saved."""
        self.learned.load_state_dict(state["learned"])
        self.outer_optimizer.load_state_dict(state["outer_optimizer"])
        self.steps, self.validation_seed = int(state["steps"]), state.get("validation_seed")
        self._rate = None  # the optimizer's own state is loaded, too
        self.history.load_state_dict(state["history"])

    def _outer_step(
        self, batches: list[list[TrainLosses]], validation_loss: Loss, before: Moment
    ) -> StepResult:
        self._seed()
        with noting_losses(self._known) as self._seen:
            own, found = self._find(batches, validation_loss, before)
        if self.model_first:
            if own is None:
                loss = self._train(batches[0], None)
            else:
                assert found.descended is not None, "the estimator keeps no gradient"
                loss = self._follow(found.descended)
            self._move_weights(found.gradient)
        else:
            self._move_weights(found.gradient)
            loss = self._train(batches[0], own)
        return StepResult(loss, found.validation_loss)

    def _find(
        self, batches: list[list[TrainLosses]], validation_loss: Loss, before: Moment
    ) -> tuple[Own | None, MetaGradient]:
        """The hypergradient, and what the model computed for its own step if both could share it.

        Where torch lacks a derivative of a fused kernel (attention, a compiled model), the look ahead is
        computed without them from then on, and the model's own step with them, as in a plain loop.
        """
        if not (self.composite or self.world.compiled):
            own = self._own(batches[0], before)
            try:
                self._check_calls(batches, validation_loss, before, own)
                return own, self._look_ahead(batches, validation_loss, own, before)
            except RuntimeError as error:
                if not self._may_lack(error):
                    raise
                self.world.go_back(before)
        with composite_kernels():
            try:
                self._check_calls(batches, validation_loss, before, None)
                found = self._look_ahead(batches, validation_loss, None, before)
            except RuntimeError as error:
                if not self._may_lack(error):
                    raise
                self._refuse(batches, validation_loss, before, error)
        self.composite = True
        return None, found

    def _may_lack(self, error: RuntimeError) -> bool:
        """Whether this says that the estimator cannot differentiate the losses, though others might."""
        return lacks_derivative(error) or isinstance(self.estimator, ThroughStep)

    def _refuse(
        self,
        batches: list[list[TrainLosses]],
        validation_loss: Loss,
        before: Moment,
        error: RuntimeError,
    ) -> NoReturn:
        """Raise ValueError that names the estimators which can differentiate these losses: they are tried."""

        def those_that_can(virtual: list[list[TrainLosses]]) -> list[str]:
            able = []
            for name, estimator in ESTIMATORS.items():
                if len(virtual) == 1 or name not in ONE_STEP:
                    with suppress(RuntimeError, ValueError, FloatingPointError):
                        self._look_ahead(virtual, validation_loss, None, before, estimator)
                        able.append(name)
            return able

        able, where = those_that_can(batches), ""
        if not able and len(batches) > 1:
            able, where = those_that_can(batches[:1]), " with virtual_steps=1"
        if not able and not lacks_derivative(error):
            raise error  # of the losses themselves
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(
            f"The estimator {self.estimator_name} cannot differentiate these losses ({reason}); "
            + (f"{', '.join(able)} can{where}." if able else "no other can, either.")
        ) from error

    def _check_calls(
        self, batches: list[list[TrainLosses]], validation_loss: Loss, before: Moment, own: Own | None
    ) -> None:
        """Once, if losses are called several times a step: they must give the same values again."""
        once = own is not None and self.estimator_name in CALLS_ONCE and self.virtual_steps == 1
        if self._checked_calls or once:
            return
        with self.processes.apart():
            self._compare_calls(batches, validation_loss, before)
        self._checked_calls = True

    def _compare_calls(self, batches: list[list[TrainLosses]], validation_loss: Loss, before: Moment) -> None:
        parts = [part for parts in batches for part in parts]
        through = isinstance(self.estimator, ThroughStep)
        losses = [functools.partial(self._checked, part) for part in (parts if through else batches[0])]
        name = f"the estimator {self.estimator_name}"
        require_repeatable(losses, self.world, before.draws, name, "training loss")
        if through:
            seeded = self.world.seeded(validation_loss, self._seed(), self.steps)
            require_repeatable([seeded], self.world, before.draws, name, "validation loss")
        if self.estimator_name == "finite-difference":
            require_no_autocast(losses[0], self.world, before.draws)

    def _seed(self) -> int:
        """Of the stream that validation draws from: it follows from where torch's stream first was."""
        if self.validation_seed is None:
            self.validation_seed = validation_seed()
        return self.validation_seed

    def _own(self, parts: list[TrainLosses], before: Moment) -> Own | None:
        """What the model computes for its own step, if that will not change with what is learned."""
        known = len(self.learned) > 1 + (self.learning_rate is not None)  # losses read hyper-parameters
        if not self.shares or (known and not self.model_first):
            return None
        if self.world.weight_norm and isinstance(self.estimator, Implicit):
            return None  # its second derivative is not that of torch's fused kernel
        with torch.enable_grad():
            losses = [self.world.run_itself(functools.partial(self._checked, part)) for part in parts]
        roots = [loss.sum() for each in losses for loss in leaves(each)]
        found = torch.autograd.grad(roots, self.outer, retain_graph=True, allow_unused=True)
        reads = any(gradient is not None for gradient in found)
        if reads and not self.model_first:
            self.world.go_back(before)
            return None
        return Own(losses, before.draws, reads)

    def _look_ahead(
        self,
        batches: list[list[TrainLosses]],
        validation_loss: Loss,
        own: Own | None,
        before: Moment,
        estimator: Callable[[LookAhead], MetaGradient] | None = None,
    ) -> MetaGradient:
        self.world.require_followed()
        self.world.several = self.virtual_steps > 1
        checked = [[functools.partial(self._checked, part) for part in parts] for parts in batches]
        reduce = functools.partial(self.processes.mean_of_trained, trained=self.world.trained)
        lifted = LiftedOptimizer(
            self.optimizer,
            groups=self._groups(),
            clip=self.clipping.differentiable,
            hooked=self.world.hooked,
            reduce=reduce if self.processes else None,
        )
        attributes = self.world.attributes_now() if own else before.attributes
        drawing, staying = drawing_from(self.world.draws_now()), self.world.staying()
        with drawing, staying, torch.enable_grad(), self.processes.apart():
            ahead = LookAhead(
                self.world,
                lifted,
                checked,
                self._weigh,
                self.world.seeded(validation_loss, self._seed(), self.steps),
                self.outer,
                own,
                self.learned,
                self._groups,
                before=before,
                inspect=not self.history.steps,
            )
            found = ahead.differentiated_by(estimator or self.estimator)
        attributes.restore()
        self.world.require_unhooked()
        if self.model_first:
            self.world.require_not_recomputed()
        if self.processes:
            values, like = [*found.gradient, found.validation_loss], [*self.outer, found.validation_loss]
            *gradient, loss = self.processes.mean(values, like)
            assert loss is not None
            found = found._replace(gradient=gradient, validation_loss=loss)
        require(
            any(g is not None for g in found.gradient),
            "The validation loss depends on none of the learned weights: it must be computed with the model "
            "that the training losses train.",
        )
        for value in (found.validation_loss, *found.gradient):
            if value is not None and not value.isfinite().all():
                raise FloatingPointError(
                    f"The validation loss or its gradient in the weights is not finite in step {self.steps}: "
                    "try a smaller learning rate, or clip the gradients."
                )
        return found

    def _move_weights(self, gradient: Sequence[Tensor | None]) -> None:
        """Take the outer step; weights of losses that the batch lacks stay."""
        with keeping_absent(self.outer_optimizer, self._seen):
            outer_step(self.outer, list(gradient), None, self.outer_optimizer)
        for module in self._known:
            module.project_()

    def _follow(self, descended: Descended) -> Tensor:
        """The model's own step, along the gradient that the look ahead found."""
        for parameter, g in zip(self.world.trained, descended.gradient, strict=True):
            parameter.grad = None if g is None else g.clone()  # two parameters may have one gradient
        self._descend(descended.loss)
        return descended.loss

    def _train(self, parts: list[TrainLosses], own: Own | None) -> Tensor:
        """The model's own step, in which nothing flows to the weights."""
        self.optimizer.zero_grad()
        total = torch.zeros(())
        flags = [parameter.requires_grad for parameter in self.outer]
        try:
            self.learned.requires_grad_(False)
            for index, part in enumerate(parts):
                losses = self._checked(part) if own is None else own.losses[index]
                loss = self._weigh(losses) / len(parts)
                loss.backward()
                total = total.to(loss) + loss.detach()
        finally:
            for parameter, flag in zip(self.outer, flags, strict=True):
                parameter.requires_grad_(flag)
        self._descend(total)
        return total

    def _descend(self, loss: Tensor) -> None:
        """Let the optimizer take its step along the gradients that are there.

        Raises:
            FloatingPointError: the loss or a gradient is not finite.
        """
        gradients = [p.grad for p in self.world.trained if p.grad is not None]
        strided = [g if g.layout is torch.strided else g.coalesce().values() for g in gradients]
        greatest = nn.utils.get_total_norm(strided, math.inf) if strided else loss
        if not (loss.isfinite() & greatest.to(loss.device).isfinite()):
            raise FloatingPointError(
                f"The training loss or its gradient is not finite in step {self.steps}: try a smaller "
                "learning rate, or clip the gradients."
            )
        self._set_rate()
        self.clipping.in_place(self.world.trained)
        self.optimizer.step()

    def _set_rate(self) -> None:
        if self.learning_rate is not None:
            self._rate = float(self.learning_rate().detach())
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate

    def _require_own_rate(self) -> None:
        """Raise ValueError if something else has moved the learning rate that is learned."""
        for number, group in enumerate(self.optimizer.param_groups):
            require(
                self._rate is None or float(group["lr"]) == self._rate,
                f"The learning rate is learned, but since the last step that of group {number} was changed "
                f"from {self._rate} to {float(group['lr'])}, as schedulers do, which would have no effect: "
                "leave out the scheduler, or learning_rate.",
            )

    def _groups(self) -> list[dict[str, Any]]:
        """The optimizer's parameter groups, with the learning rate that is learned."""
        groups = self.optimizer.param_groups
        return groups if self.learning_rate is None else [{**g, "lr": self.learning_rate()} for g in groups]

    def _checked(self, train_losses: TrainLosses) -> Any:
        """The losses, if the model can learn from each."""
        losses = train_losses()
        require_learnable(losses, differentiated=self.world.differentiated)
        return losses

    def _weigh(self, losses: Any) -> Tensor:
        total: Tensor = self.weights(losses)
        require(total.ndim == 0, f"The weighted loss must be one number, but it has {list(total.shape)}.")
        return total

    def _batches(self, train_losses: TrainLosses | Sequence[TrainLosses]) -> list[list[TrainLosses]]:
        if not isinstance(train_losses, list | tuple):
            require_function("train_losses", train_losses)
            train_losses = [train_losses]  # type: ignore[list-item]  # a function
        given: list[TrainLosses] = list(train_losses)
        for each in given:
            require_function("train_losses", each)
        wanted = self.virtual_steps * self.accumulate
        if len(given) == 1 and self.accumulate == 1:
            given = given * wanted  # the same batch in every virtual step
        require(
            len(given) == wanted,
            f"train_losses is a list of {wanted} functions of no arguments, virtual_steps = "
            f"{self.virtual_steps} times accumulate = {self.accumulate}; these are {len(given)}.",
        )
        size = self.accumulate
        return [given[start : start + size] for start in range(0, wanted, size)]

    def _check_parameters(self) -> None:
        owners = "the weights, of what is in `also`, and of the learning rate"
        require_moved(self.outer_optimizer, self.learned.parameters(), owners)
        require(
            not {id(p) for p in self.outer} & {id(p) for p in self.world.trained},
            "A learned weight is also moved by the model's optimizer: leave it out there.",
        )
