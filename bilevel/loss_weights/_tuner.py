"""Loss weights learned within an existing training loop."""

from __future__ import annotations

import dataclasses
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
    LookAheadResult,
    LoopEstimator,
    ScalarLoss,
    SharedForward,
    TrainLosses,
    VirtualSteps,
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
    Resumable,
    StepResult,
    require_counts,
    require_functions,
    require_learnable,
    require_moved,
)
from bilevel.loss_weights._weights import HyperParameter, Learned, LossWeights
from games.core import require, require_name

Batches = list[list[TrainLosses]]
"""Training losses of each virtual step, by minibatch; the model's own step takes the first."""


class LossWeightTuner(Resumable):
    """Tuner of loss weights around a torch loop: trains the model, and learns weights by a validation loss.

    A step looks ahead: it takes `virtual_steps` steps on copies of the model and the optimizer's state, and
    updates the weights along minus the hypergradient of the validation loss. Then the model takes its own
    step with the new weights. The losses are functions of no arguments that use the model as usual; the
    look-ahead calls them once more, with other parameters in the model and the same random draws.

    With `first="model"` the model takes the first virtual step as its own, and the weights are updated after
    it; that saves one gradient in every outer step. With outer learning rate 0 the model learns bit-for-bit
    what it would have learned without the tuner.

    Args:
        model: the module that the losses use; several as a list.
        optimizer: optimizer of the model's parameters, one of torch's (SGD, Adam, AdamW, RMSprop, ...) or a
            subclass with the same step, also wrapped by Accelerate or Lightning, also in the middle of a run.
        weights: `LossWeights`, `SampleWeights`, or any module from training losses to one number.
        outer_optimizer: any torch optimizer of the weights' parameters.
        also: learned hyper-parameters that the training losses read, such as a temperature.
        learning_rate: a learned learning rate that replaces the optimizer's in every group.
        virtual_steps: steps of the look-ahead, 1 or more.
        first: the first to be updated in an outer step, "weights" or "model"; "model" needs one of the
            estimators unrolled, directional and finite-difference, which keep the first virtual gradient.
        every: steps between two updates of the weights, 1 or more.
        accumulate: minibatches whose gradients are averaged for a step, 1 or more.
        max_norm: gradients are scaled down to this norm; None: no limit.
        max_value: entries of gradients are clipped to plus and minus this; None: no limit.
        estimator: hypergradient estimator: unrolled, exact for any number of steps; directional, exact and
            cheaper in memory for one; finite-difference; implicit, at the current model, by three terms of a
            Neumann series, or `InverseHessian` with other settings; or one of `bilevel.hypergradient`, by its
            name with settings, as in "truncated(steps=5)", or as an object.

    Raises:
        ValueError: a setting is out of range, the optimizer cannot be lifted, the outer optimizer does not
            update exactly the learned parameters, or the model's optimizer updates one of them, too.

    Source:
        The virtual step: Liu et al., DARTS, arXiv 1806.09055; Shu et al., Meta-Weight-Net, arXiv 1902.07379.
        The model first: Luketina et al., Scalable gradient-based tuning, arXiv 1511.06727.

    Weights of a right and a wrong target, with validation on the right one:

    >>> from torch import nn
    >>> from bilevel.loss_weights import LossWeights, LossWeightTuner
    >>> guess, weights = nn.Linear(1, 1, bias=False), LossWeights(["right", "wrong"])
    >>> optimizer = torch.optim.SGD(guess.parameters(), lr=0.1)
    >>> outer_optimizer = torch.optim.Adam(weights.parameters(), lr=0.1)
    >>> tuner = LossWeightTuner(guess, optimizer, weights, outer_optimizer)
    >>> distance = lambda target: (guess(torch.ones(1)) - target).square().sum()
    >>> for _ in range(50):
    ...     _ = tuner.step(lambda: {"right": distance(3), "wrong": distance(-3)}, lambda: distance(3))
    >>> weights.as_dict()["right"] > 2 * weights.as_dict()["wrong"]
    True
    """

    saved = ("learned", "outer_optimizer", "steps", "validation_seed", "history")

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
        """True if look-aheads avoid fused kernels that lack a derivative, such as those of attention."""
        self._checked_calls = False
        self.outer = parameters_of(outer_optimizer)
        self._known = [module for module in self.learned.modules() if isinstance(module, Learned)]
        self.steps, self.history = 0, History()
        self._present: dict[LossWeights, set[str]] = {}
        self._rate: float | None = None  # the learned learning rate last written into the optimizer
        self.validation_seed: int | None = None
        """Seed of the random draws of validation losses; None before the first outer step."""
        self._check_settings()
        self.processes.begin([*self.learned.parameters(), *self.learned.buffers()])

    @refusing_scalers()
    def step(
        self, train_losses: TrainLosses | Sequence[TrainLosses], validation_loss: ScalarLoss
    ) -> StepResult:
        """Look ahead, update the weights, and train the model by one step, in the order of `first`.

        Args:
            train_losses: computes the losses on a batch. With several virtual steps, or minibatches, a list
                of `virtual_steps` times `accumulate` such functions, step by step; the model itself takes the
                first step.
            validation_loss: computes the loss that the weights minimize: one number. Its random draws come
                from its own stream, so that training draws the same numbers as in a plain loop.

        Raises:
            ValueError: the wrong number of functions; a loss is detached or not one number; the validation
                loss depends on no weight; a module changes parameters in place, or a hook, a buffer or an
                attribute cannot be followed (says which).
            FloatingPointError: a loss, a gradient of the model or a hypergradient is not finite; nothing was
                changed.
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
                else:
                    shared, found = self._hypergradient(batches, validation_loss, before)
                    if self.model_first:
                        loss = self._train(batches[0], None) if shared is None else self._train_along(found)
                        self._update_weights(found)
                    else:
                        self._update_weights(found)
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
        """Look ahead and update the weights as `step` does, and leave the model's own step to the caller.

        For trainers that take every step themselves (Lightning's, Hugging Face's): they weight the losses,
        take the step, and call `advance`. Losses are called once more than in `step`.

        Returns:
            The validation loss after the virtual steps; None in a step between two outer ones.

        Raises:
            ValueError: as for `step`; or the model moves first.
            FloatingPointError: as for `step`.
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
        self._update_weights(found)
        self._set_learning_rate()
        self.history.add(self.steps + 1, self.learned_values(), float(found.validation_loss))
        return found.validation_loss

    def advance(self) -> None:
        """Count a step of the model; `step` calls it itself."""
        self.steps += 1
        for module in self._known:
            module.advance()

    def learned_values(self) -> dict[str, float]:
        """Name -> learned number."""
        return {name: value for module in self._known for name, value in module.as_dict().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a saved state."""
        super().load_state_dict(state)
        self._rate = None  # the optimizer's own state is loaded, too

    def _hypergradient(
        self, batches: Batches, validation_loss: ScalarLoss, before: ModelSnapshot
    ) -> tuple[SharedForward | None, LookAheadResult]:
        """The losses of the model's own step if they can be shared, and the hypergradient.

        Where torch lacks a derivative of a fused kernel (attention, a compiled model), look-aheads avoid
        fused kernels from then on.
        """
        if self.validation_seed is None:
            self.validation_seed = validation_seed()
        ahead = VirtualSteps(
            model=self.model,
            lift=self._lift,
            losses=batches,
            weigh=self._weigh,
            validation=self.model.seeded(validation_loss, self.validation_seed, self.steps),
            outer=self.outer,
            learned=self.learned,
            groups=self._groups,
            before=before,
            inspect=not self.history.steps,
        )
        with _noting_present(self._known) as self._present:
            if not (self.composite or self.model.compiled):
                sharing = dataclasses.replace(ahead, shared=self._share_forward(ahead))
                try:
                    self._check_calls(sharing)
                    return sharing.shared, self._look_ahead(sharing)
                except RuntimeError as error:
                    if not self._may_lack_derivative(error):
                        raise
                    self.model.restore(before)
            with composite_kernels():
                try:
                    self._check_calls(ahead)
                    found = self._look_ahead(ahead)
                except RuntimeError as error:
                    if not self._may_lack_derivative(error):
                        raise
                    self._refuse(ahead, error)
            self.composite = True
            return None, found

    def _share_forward(self, ahead: VirtualSteps) -> SharedForward | None:
        """Compute the losses of the model's own step unless they depend on the outer parameters."""
        shares = self.estimator_name in ESTIMATORS or self.implicit
        if not shares or (self._reads_hyper_parameters and not self.model_first):
            return None
        if self.model.weight_norm and self.implicit:
            return None  # its second derivative is not that of torch's fused kernel
        found = [self.model.call_own(each) for each in ahead.losses[0]]
        roots = [loss.sum() for each in found for loss in leaves(each)]
        gradients = torch.autograd.grad(roots, self.outer, retain_graph=True, allow_unused=True)
        reads = any(gradient is not None for gradient in gradients)
        if reads and not self.model_first:
            self.model.restore(ahead.before)
            return None
        return SharedForward(found, ahead.before.random_state, reads)

    def _lift(self) -> LiftedOptimizer:
        return LiftedOptimizer(
            self.optimizer,
            groups=self._groups(),
            clip=self.clipping.differentiable,
            hooks=self.model.hooked,
            reduce=functools.partial(self.processes.mean_of_trained, trained=self.model.trained),
        )

    def _look_ahead(self, ahead: VirtualSteps, estimator: LoopEstimator | None = None) -> LookAheadResult:
        """Take the virtual steps and the hypergradient, by another estimator if one is passed."""
        self.model.require_no_accumulate_hooks()
        self.model.several_steps = self.virtual_steps > 1
        attributes = Attributes(self.model.all_modules) if ahead.shared else ahead.before.attributes
        forked, keeping = fork_random_state(self.model.random_state()), self.model.keeping_last()
        with forked, keeping, torch.enable_grad(), self.processes.unwrapped():
            try:
                found = (estimator or self.estimator)(ahead)
            except RuntimeError as error:
                if "modified by an inplace operation" not in str(error):
                    raise
                raise ValueError(
                    "A tensor that the gradient needs is written to in place before the gradient is taken: "
                    "take one virtual step, if those are running statistics in a checkpoint; or have the "
                    "module that writes to it make a new tensor."
                ) from error
        attributes.restore()
        self.model.require_gradients_unchanged()
        if self.model_first:
            self.model.require_not_recomputed()
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
        """True if the estimator could not differentiate the losses, though others might."""
        return lacks_derivative(error) or isinstance(self.estimator, ThroughStep)

    def _refuse(self, ahead: VirtualSteps, error: RuntimeError) -> NoReturn:
        """Raise ValueError that names the estimators which can differentiate these losses, by trying them."""

        def usable_estimators(losses: Batches) -> list[str]:
            usable = []
            for name, estimator in ESTIMATORS.items():
                if len(losses) == 1 or name not in ONE_STEP:
                    with suppress(RuntimeError, ValueError, FloatingPointError):
                        self._look_ahead(dataclasses.replace(ahead, losses=losses), estimator)
                        usable.append(name)
            return usable

        usable, where = usable_estimators(ahead.losses), ""
        if not usable and len(ahead.losses) > 1:
            usable, where = usable_estimators(ahead.losses[:1]), " with virtual_steps=1"
        if not usable and not lacks_derivative(error):
            raise error  # of the losses themselves
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(
            f"The estimator {self.estimator_name} cannot differentiate these losses ({reason}); "
            + (f"{', '.join(usable)} can{where}." if usable else "no other can, either.")
        ) from error

    def _check_calls(self, ahead: VirtualSteps) -> None:
        """Check once that losses that are called several times a step repeat their values."""
        once = ahead.shared is not None and (self.implicit or self.estimator_name == "unrolled")
        if self._checked_calls or (once and self.virtual_steps == 1):
            return
        through, start = isinstance(self.estimator, ThroughStep), ahead.before.random_state
        training = [each for losses in (ahead.losses if through else ahead.losses[:1]) for each in losses]
        name = f"the estimator {self.estimator_name}"
        with self.processes.unwrapped():
            require_repeatable(training, self.model, start, name, "training loss")
            if through:
                require_repeatable([ahead.validation], self.model, start, name, "validation loss")
            if self.estimator_name == "finite-difference":
                require_no_autocast(training[0], self.model, start)
        self._checked_calls = True

    def _update_weights(self, found: LookAheadResult) -> None:
        """Take the outer step, but keep the weights of losses absent from the batch."""
        with _keeping_absent(self.outer_optimizer, self._present):
            outer_step(self.outer, found.gradient, None, self.outer_optimizer)
        for module in self._known:
            module.project_()

    def _train(self, losses: list[TrainLosses], shared: SharedForward | None) -> Tensor:
        """Take the model's own step, without gradients with respect to the weights."""
        self.optimizer.zero_grad()
        total = torch.zeros(())
        flags = [parameter.requires_grad for parameter in self.outer]
        try:
            self.learned.requires_grad_(False)
            for index, each in enumerate(losses):
                values = each() if shared is None else shared.losses[index]
                loss = self._weigh(values) / len(losses)
                loss.backward()
                total = total.to(loss) + loss.detach()
        finally:
            for parameter, flag in zip(self.outer, flags, strict=True):
                parameter.requires_grad_(flag)
        self._descend(total)
        return total

    def _train_along(self, found: LookAheadResult) -> Tensor:
        """Take the model's own step along the gradient of the first virtual step."""
        assert found.first_step is not None, "the estimator keeps no gradient"
        for parameter, g in zip(self.model.trained, found.first_step.gradient, strict=True):
            parameter.grad = None if g is None else g.clone()  # two parameters may have one gradient
        self._descend(found.first_step.loss)
        return found.first_step.loss

    def _descend(self, loss: Tensor) -> None:
        """Take the optimizer's step; raises FloatingPointError if the loss or a gradient is not finite."""
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
        """The optimizer's parameter groups with the learned learning rate."""
        groups = self.optimizer.param_groups
        return groups if self.learning_rate is None else [{**g, "lr": self.learning_rate()} for g in groups]

    def _learnable(self, train_losses: TrainLosses) -> Any:
        """Compute the losses, and check that the model can learn from each."""
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
        """Check a step's arguments, and group the training losses by virtual step."""
        rule_of(self.optimizer)
        functions: list[Any] = (
            list(train_losses) if isinstance(train_losses, list | tuple) else [train_losses]
        )
        for each in functions:
            require_functions(train_losses=each)
        expected = self.virtual_steps * self.accumulate
        if len(functions) == 1 and self.accumulate == 1:
            functions = functions * expected  # the same batch in every virtual step
        require(
            len(functions) == expected,
            f"train_losses is a list of {expected} functions of no arguments, virtual_steps = "
            f"{self.virtual_steps} times accumulate = {self.accumulate}; these are {len(functions)}.",
        )
        require_functions(validation_loss=validation_loss)
        for number, group in enumerate(self.optimizer.param_groups):
            require(
                self._rate is None or float(group["lr"]) == self._rate,
                f"The learning rate is learned, but since the last step that of group {number} was changed "
                f"from {self._rate} to {float(group['lr'])}, as schedulers do, which would have no effect: "
                "leave out the scheduler, or learning_rate.",
            )
        learnable: list[TrainLosses] = [functools.partial(self._learnable, each) for each in functions]
        size = self.accumulate
        return [learnable[start : start + size] for start in range(0, expected, size)]

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
            self.processes.group is None or name in names,
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
    """Record the names of the losses that each `LossWeights` is called with."""
    present: dict[LossWeights, set[str]] = {each: set() for each in modules if isinstance(each, LossWeights)}

    def note(module: LossWeights, arguments: Any) -> None:
        present[module].update(arguments[0])

    handles = [each.register_forward_pre_hook(note) for each in present]
    try:
        yield present
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _keeping_absent(
    optimizer: torch.optim.Optimizer, present: Mapping[LossWeights, set[str]]
) -> Iterator[None]:
    """Restore the weights of absent losses, and their averages, after an outer step with momentum."""
    saved_values: list[tuple[Tensor, str, Tensor, list[int]]] = []
    for weights, names in present.items():
        if not names or not (absent := [i for i, name in enumerate(weights.names) if name not in names]):
            continue
        free, state = weights.free.detach(), optimizer.state.get(weights.free, {})
        averages = {k: v for k, v in state.items() if isinstance(v, Tensor) and v.shape == free.shape}
        saved_values += [
            (weights.free, name, v[..., absent].clone(), absent) for name, v in {"": free, **averages}.items()
        ]
    yield
    for parameter, name, before, absent in saved_values:
        now: Tensor = optimizer.state[parameter][name] if name else parameter.detach()
        now[..., absent] = before
