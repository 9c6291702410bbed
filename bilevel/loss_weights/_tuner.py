"""Learn the weights of losses around a training loop that is already there."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor, nn

from bilevel.core import leaves, outer_step
from bilevel.hypergradient import Estimator
from bilevel.loss_weights._distributed import Processes
from bilevel.loss_weights._inverse_hessian import InverseHessian
from bilevel.loss_weights._lifted import LiftedOptimizer, parameters_of, refusing_scalers, rule_of
from bilevel.loss_weights._look_ahead import (
    ESTIMATORS,
    ONE_STEP,
    LookAhead,
    LookAheadResult,
    LoopEstimator,
    ScalarLoss,
    SharedForward,
    TrainLosses,
)
from bilevel.loss_weights._module_state import (
    Attributes,
    fork_random_state,
    optimizer_snapshot,
    validation_seed,
)
from bilevel.loss_weights._purity import require_no_autocast, require_repeatable
from bilevel.loss_weights._stateless_model import ModelSnapshot, StatelessModel
from bilevel.loss_weights._through_step import ThroughStep, make_estimator
from bilevel.loss_weights._torch_patches import composite_kernels, lacks_derivative
from bilevel.loss_weights._training import (
    FIRST,
    Clipping,
    History,
    StepResult,
    require_counts,
    require_functions,
    require_learnable,
    require_moved,
)
from bilevel.loss_weights._weights import HyperParameter, Learned, LossWeights
from games.core import require, require_name

Batches = list[list[TrainLosses]]
"""The training losses of each virtual step, by minibatch; the model's own step takes the first."""


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
        virtual_steps: steps that the look ahead takes, 1 or more.
        first: what moves first in an outer step, the weights or the model. The model can where an estimator
            keeps the gradient of the first virtual step: unrolled, directional and finite-difference do.
        every: the weights move in every so-many-th step, 1 or more.
        accumulate: minibatches whose gradients are averaged for a step, 1 or more.
        max_norm: gradients are scaled down to this norm; None: they are not.
        max_value: each entry of a gradient is cut off at plus and minus this; None: it is not.
        estimator: of the hypergradient: unrolled, exact for any number of steps; directional, exact and
            cheaper in memory for one; finite-difference; implicit, at the model as it is, by three terms of a
            Neumann series, or `InverseHessian` with other settings; or one of `bilevel.hypergradient`, by its
            name with settings, as in "truncated(steps=5)", or itself.

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
        estimator: str | InverseHessian | Estimator = "unrolled",
    ) -> None:
        require_counts(virtual_steps=virtual_steps, every=every, accumulate=accumulate)
        require_name(first, FIRST, "value of first,")
        self.estimator = make_estimator(estimator)
        self.implicit = isinstance(self.estimator, InverseHessian)
        name = estimator if isinstance(estimator, str) else type(estimator).__name__
        self.estimator_name = "implicit" if self.implicit else name
        rule_of(optimizer)
        models = [model] if isinstance(model, nn.Module) else list(model)
        self.processes = Processes(models)
        self.model = StatelessModel(models, optimizer)
        self.optimizer, self.weights, self.outer_optimizer = optimizer, weights, outer_optimizer
        self.learning_rate, self._reads_hyper_parameters = learning_rate, bool(also)
        self.learned = nn.ModuleList([weights, *also, *([learning_rate] if learning_rate else [])])
        self.virtual_steps, self.every, self.accumulate = virtual_steps, every, accumulate
        self.model_first = first == "model"
        self.clipping = Clipping(max_norm, max_value)
        self.composite = isinstance(self.estimator, ThroughStep)
        """Whether look-aheads avoid fused kernels that lack a derivative, as attention's: set when found."""
        self._checked_calls = False
        self.outer = parameters_of(outer_optimizer)
        self._known = [module for module in self.learned.modules() if isinstance(module, Learned)]
        self.steps, self.history = 0, History()
        self._present: dict[LossWeights, set[str]] = {}
        self._rate: float | None = None  # the learned one, as it was last written into the optimizer
        self.validation_seed: int | None = None
        """Of the random draws of validation losses; None before the first outer step."""
        self._check_settings()
        self.processes.begin([*self.learned.parameters(), *self.learned.buffers()])

    @refusing_scalers()
    def step(
        self, train_losses: TrainLosses | Sequence[TrainLosses], validation_loss: ScalarLoss
    ) -> StepResult:
        """Look ahead, move the weights, and train the model by one step, in the order that `first` says.

        Args:
            train_losses: gives the losses on a batch. With several virtual steps, or minibatches, a list of
                `virtual_steps` times `accumulate` such functions, step by step; the model itself takes the
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
        batches = self._checked_batches(train_losses, validation_loss)
        gathering = getattr(self.optimizer, "gradient_state", None)
        require(
            gathering is None or gathering.sync_gradients,
            "Accelerate skips this optimizer's step while accelerator.accumulate gathers gradients: call "
            "tuner.step outside of it, with accumulate=N and a list of N functions, one for each part.",
        )
        self.model.refresh()
        before, found = self.model.snapshot(), None
        restore_outer = None if self.steps % self.every else optimizer_snapshot(self.outer_optimizer)
        try:
            with torch.enable_grad():
                if restore_outer is None:
                    loss = self._train(batches[0], None)
                elif self.model_first:
                    shared, found = self._hypergradient(batches, validation_loss, before)
                    loss = self._train_along(found) if shared is not None else self._train(batches[0], None)
                    self._move_weights(found)
                else:
                    shared, found = self._hypergradient(batches, validation_loss, before)
                    self._move_weights(found)
                    loss = self._train(batches[0], shared)
        except BaseException:
            self.model.restore(before)
            self.optimizer.zero_grad()
            if restore_outer is not None:
                restore_outer()
            raise
        self.advance()
        if found is not None:
            self.history.add(self.steps, self.learned_values(), float(found.validation_loss))
        return StepResult(loss, None if found is None else found.validation_loss)

    @refusing_scalers()
    def look_ahead(
        self, train_losses: TrainLosses | Sequence[TrainLosses], validation_loss: ScalarLoss
    ) -> Tensor | None:
        """Look ahead and move the weights, and leave the model's own step to the caller.

        For trainers that take every step themselves (Lightning's, Hugging Face's): they weigh the losses with
        the weights as they then are, take the step, and call `advance`. Losses are called once more than in
        `step`.

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
        batches = self._checked_batches(train_losses, validation_loss)
        if self.steps % self.every:
            return None
        self.model.refresh()
        before = self.model.snapshot()
        try:
            with torch.enable_grad():
                _, found = self._hypergradient(batches, validation_loss, before)
        finally:
            self.model.restore(before)
        self._move_weights(found)
        self._set_learning_rate()
        self.history.add(self.steps + 1, self.learned_values(), float(found.validation_loss))
        return found.validation_loss

    def advance(self) -> None:
        """Count a step of the model; `step` does so itself."""
        self.steps += 1
        for module in self._known:
            module.advance()

    def learned_values(self) -> dict[str, float]:
        """The learned numbers as they are now: name -> value."""
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

    # The hypergradient

    def _hypergradient(
        self, batches: Batches, validation_loss: ScalarLoss, before: ModelSnapshot
    ) -> tuple[SharedForward | None, LookAheadResult]:
        """The hypergradient, and what the model computed for its own step if both could share it.

        Where torch lacks a derivative of a fused kernel (attention, a compiled model), the look ahead is
        computed without them from then on, and the model's own step with them, as in a plain loop.
        """
        if self.validation_seed is None:
            self.validation_seed = validation_seed()
        validation_loss = self.model.seeded(validation_loss, self.validation_seed, self.steps)
        with _noting_present(self._known) as self._present:
            if not (self.composite or self.model.compiled):
                shared = self._share_forward(batches[0], before)
                try:
                    self._check_calls(batches, validation_loss, before, shared)
                    return shared, self._look_ahead(batches, validation_loss, shared, before)
                except RuntimeError as error:
                    if not self._may_lack_derivative(error):
                        raise
                    self.model.restore(before)
            with composite_kernels():
                try:
                    self._check_calls(batches, validation_loss, before, None)
                    found = self._look_ahead(batches, validation_loss, None, before)
                except RuntimeError as error:
                    if not self._may_lack_derivative(error):
                        raise
                    self._refuse(batches, validation_loss, before, error)
            self.composite = True
            return None, found

    def _share_forward(self, losses: list[TrainLosses], before: ModelSnapshot) -> SharedForward | None:
        """Compute the losses of the model's own step, if they will not change with the outer parameters."""
        shares = self.estimator_name in ESTIMATORS or self.implicit
        if not shares or (self._reads_hyper_parameters and not self.model_first):
            return None
        if self.model.weight_norm and self.implicit:
            return None  # its second derivative is not that of torch's fused kernel
        found = [self.model.call_own(functools.partial(self._learnable, each)) for each in losses]
        roots = [loss.sum() for each in found for loss in leaves(each)]
        gradients = torch.autograd.grad(roots, self.outer, retain_graph=True, allow_unused=True)
        reads = any(gradient is not None for gradient in gradients)
        if reads and not self.model_first:
            self.model.restore(before)
            return None
        return SharedForward(found, before.random_state, reads)

    def _look_ahead(
        self,
        batches: Batches,
        validation_loss: ScalarLoss,
        shared: SharedForward | None,
        before: ModelSnapshot,
        estimator: LoopEstimator | None = None,
    ) -> LookAheadResult:
        """Take the virtual steps and the hypergradient, by another estimator if one is given."""
        self.model.require_no_accumulate_hooks()
        self.model.several_steps = self.virtual_steps > 1
        reduce = functools.partial(self.processes.mean_of_trained, trained=self.model.trained)
        lifted = LiftedOptimizer(
            self.optimizer,
            groups=self._groups(),
            clip=self.clipping.differentiable,
            hooks=self.model.hooked,
            reduce=reduce if self.processes else None,
        )
        attributes = Attributes(self.model.all_modules) if shared else before.attributes
        forked, keeping = fork_random_state(self.model.random_state()), self.model.keeping_last()
        with forked, keeping, torch.enable_grad(), self.processes.unwrapped():
            ahead = LookAhead(
                model=self.model,
                optimizer=lifted,
                losses=[[functools.partial(self._learnable, each) for each in losses] for losses in batches],
                weigh=self._weigh,
                validation=validation_loss,
                outer=self.outer,
                learned=self.learned,
                groups=self._groups,
                before=before,
                shared=shared,
                inspect=not self.history.steps,
            )
            found = ahead.differentiated_by(estimator or self.estimator)
        attributes.restore()
        self.model.require_gradients_unchanged()
        if self.model_first:
            self.model.require_not_recomputed()
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

    def _may_lack_derivative(self, error: RuntimeError) -> bool:
        """Whether this says that the estimator cannot differentiate the losses, though others might."""
        return lacks_derivative(error) or isinstance(self.estimator, ThroughStep)

    def _refuse(
        self, batches: Batches, validation_loss: ScalarLoss, before: ModelSnapshot, error: RuntimeError
    ) -> NoReturn:
        """Raise ValueError that names the estimators which can differentiate these losses: they are tried."""

        def able_estimators(virtual: Batches) -> list[str]:
            able = []
            for name, estimator in ESTIMATORS.items():
                if len(virtual) == 1 or name not in ONE_STEP:
                    with suppress(RuntimeError, ValueError, FloatingPointError):
                        self._look_ahead(virtual, validation_loss, None, before, estimator)
                        able.append(name)
            return able

        able, where = able_estimators(batches), ""
        if not able and len(batches) > 1:
            able, where = able_estimators(batches[:1]), " with virtual_steps=1"
        if not able and not lacks_derivative(error):
            raise error  # of the losses themselves
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(
            f"The estimator {self.estimator_name} cannot differentiate these losses ({reason}); "
            + (f"{', '.join(able)} can{where}." if able else "no other can, either.")
        ) from error

    def _check_calls(
        self,
        batches: Batches,
        validation_loss: ScalarLoss,
        before: ModelSnapshot,
        shared: SharedForward | None,
    ) -> None:
        """Once, if losses are called several times a step: they must give the same values again."""
        once = shared is not None and (self.implicit or self.estimator_name == "unrolled")
        if self._checked_calls or (once and self.virtual_steps == 1):
            return
        through = isinstance(self.estimator, ThroughStep)
        called = [each for losses in (batches if through else batches[:1]) for each in losses]
        training = [functools.partial(self._learnable, each) for each in called]
        name = f"the estimator {self.estimator_name}"
        with self.processes.unwrapped():
            require_repeatable(training, self.model, before.random_state, name, "training loss")
            if through:
                validation = [validation_loss]
                require_repeatable(validation, self.model, before.random_state, name, "validation loss")
            if self.estimator_name == "finite-difference":
                require_no_autocast(training[0], self.model, before.random_state)
        self._checked_calls = True

    # The two moves

    def _move_weights(self, found: LookAheadResult) -> None:
        """Take the outer step; weights of losses that the batch lacks are put back before the projection."""
        with _keeping_absent(self.outer_optimizer, self._present):
            outer_step(self.outer, found.gradient, None, self.outer_optimizer)
        for module in self._known:
            module.project_()

    def _train(self, losses: list[TrainLosses], shared: SharedForward | None) -> Tensor:
        """Take the model's own step, in which nothing flows to the weights."""
        self.optimizer.zero_grad()
        total = torch.zeros(())
        flags = [parameter.requires_grad for parameter in self.outer]
        try:
            self.learned.requires_grad_(False)
            for index, each in enumerate(losses):
                values = self._learnable(each) if shared is None else shared.losses[index]
                loss = self._weigh(values) / len(losses)
                loss.backward()
                total = total.to(loss) + loss.detach()
        finally:
            for parameter, flag in zip(self.outer, flags, strict=True):
                parameter.requires_grad_(flag)
        self._descend(total)
        return total

    def _train_along(self, found: LookAheadResult) -> Tensor:
        """Take the model's own step along the gradient that the look ahead found."""
        assert found.first_step is not None, "the estimator keeps no gradient"
        for parameter, g in zip(self.model.trained, found.first_step.gradient, strict=True):
            parameter.grad = None if g is None else g.clone()  # two parameters may have one gradient
        self._descend(found.first_step.loss)
        return found.first_step.loss

    def _descend(self, loss: Tensor) -> None:
        """Let the optimizer take its step along the gradients that are there.

        Raises:
            FloatingPointError: the loss or a gradient is not finite.
        """
        gradients = [p.grad for p in self.model.trained if p.grad is not None]
        strided = [g if g.layout is torch.strided else g.coalesce().values() for g in gradients]
        largest = nn.utils.get_total_norm(strided, math.inf) if strided else loss
        if not (loss.isfinite() & largest.to(loss.device).isfinite()):
            raise FloatingPointError(
                f"The training loss or its gradient is not finite in step {self.steps}: try a smaller "
                "learning rate, or clip the gradients."
            )
        self._set_learning_rate()
        self.clipping.in_place(self.model.trained)
        self.optimizer.step()

    def _set_learning_rate(self) -> None:
        if self.learning_rate is not None:
            self._rate = float(self.learning_rate().detach())
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate

    def _groups(self) -> list[dict[str, Any]]:
        """The optimizer's parameter groups, with the learning rate that is learned."""
        groups = self.optimizer.param_groups
        return groups if self.learning_rate is None else [{**g, "lr": self.learning_rate()} for g in groups]

    # Losses and checks

    def _learnable(self, train_losses: TrainLosses) -> Any:
        """The losses, if the model can learn from each."""
        losses = train_losses()
        require_learnable(losses, differentiated=self.model.differentiated)
        return losses

    def _weigh(self, losses: Any) -> Tensor:
        total: Tensor = self.weights(losses)
        require(total.ndim == 0, f"The weighted loss must be one number, but it has {list(total.shape)}.")
        return total

    def _checked_batches(
        self, train_losses: TrainLosses | Sequence[TrainLosses], validation_loss: ScalarLoss
    ) -> Batches:
        """The training losses of each virtual step, after checks of all that a step begins with."""
        rule_of(self.optimizer)
        given: list[Any] = list(train_losses) if isinstance(train_losses, list | tuple) else [train_losses]
        for each in given:
            require_functions(train_losses=each)
        wanted = self.virtual_steps * self.accumulate
        if len(given) == 1 and self.accumulate == 1:
            given = given * wanted  # the same batch in every virtual step
        require(
            len(given) == wanted,
            f"train_losses is a list of {wanted} functions of no arguments, virtual_steps = "
            f"{self.virtual_steps} times accumulate = {self.accumulate}; these are {len(given)}.",
        )
        require_functions(validation_loss=validation_loss)
        for number, group in enumerate(self.optimizer.param_groups):
            require(
                self._rate is None or float(group["lr"]) == self._rate,
                f"The learning rate is learned, but since the last step that of group {number} was changed "
                f"from {self._rate} to {float(group['lr'])}, as schedulers do, which would have no effect: "
                "leave out the scheduler, or learning_rate.",
            )
        size = self.accumulate
        return [given[start : start + size] for start in range(0, wanted, size)]

    def _check_settings(self) -> None:
        """Raise ValueError unless the estimator and the outer optimizer fit the other settings."""
        name, *names = self.estimator_name, *ESTIMATORS
        require(
            not self.implicit or (self.virtual_steps == 1 and self.learning_rate is None),
            "The estimator implicit takes no virtual step, so that virtual_steps is 1; and where training "
            "comes to rest depends on no learning rate, so that it learns none: use unrolled.",
        )
        require(
            name not in ONE_STEP or self.virtual_steps == 1,
            f"The estimator {name} looks through one virtual step, not {self.virtual_steps}: use unrolled.",
        )
        require(
            name != "directional" or not self._reads_hyper_parameters,
            "The estimator directional cannot look through hyper-parameters that losses read (`also`), as "
            "torch cannot differentiate its forward mode of some losses (of cross-entropy, say): use "
            "unrolled, or finite-difference.",
        )
        require(
            not self.model_first or name in names,
            "The model can move first where the gradient of the first virtual step is kept, which "
            f"{', '.join(names[:-1])} and {names[-1]} do, and {name} does not: use one of them, or "
            'first="weights".',
        )
        require(
            not self.processes or name in names,
            f"The estimator {name} does not average over the processes of DistributedDataParallel; "
            f"{', '.join(names)} do.",
        )
        owners = "the weights, of what is in `also`, and of the learning rate"
        require_moved(self.outer_optimizer, self.learned.parameters(), owners)
        require(
            not {id(p) for p in self.outer} & {id(p) for p in self.model.trained},
            "A learned weight is also moved by the model's optimizer: leave it out there.",
        )


@contextmanager
def _noting_present(modules: Iterable[nn.Module]) -> Iterator[dict[LossWeights, set[str]]]:
    """Note the names of the losses that each `LossWeights` among these modules is called with inside."""
    present: dict[LossWeights, set[str]] = {
        module: set() for module in modules if isinstance(module, LossWeights)
    }
    handles = [
        each.register_forward_pre_hook(lambda module, given: present[module].update(given[0]))
        for each in present
    ]
    try:
        yield present
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _keeping_absent(
    optimizer: torch.optim.Optimizer, present: Mapping[LossWeights, set[str]]
) -> Iterator[None]:
    """Step an outer optimizer inside, and leave the weights of losses that are absent as they are.

    An optimizer with momentum moves entries whose gradient is 0, too. So these entries, and those of the
    optimizer's averages, are put back. Weights that no loss was present for are moved as usual.
    """
    kept: list[tuple[Tensor, str, Tensor, list[int]]] = []
    for weights, names in present.items():
        if not names or not (absent := [i for i, name in enumerate(weights.names) if name not in names]):
            continue
        free, state = weights.free.detach(), optimizer.state.get(weights.free, {})
        alike = {k: v for k, v in state.items() if isinstance(v, Tensor) and v.shape == free.shape}
        for name, value in {"": free, **alike}.items():
            kept.append((weights.free, name, value[..., absent].clone(), absent))
    yield
    for parameter, name, before, absent in kept:
        now: Tensor = optimizer.state[parameter][name] if name else parameter.detach()
        now[..., absent] = before
