"""`noisy-digits`: handwritten digits, many of them labelled wrongly, and a small set labelled right."""

from bilevel.tasks.noisy_digits.task import NoisyDigits

__all__ = ["NoisyDigits"]
