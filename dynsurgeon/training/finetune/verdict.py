"""What a comparison with the static twin says, in a sentence or two, and what to try next."""

from __future__ import annotations

from dynsurgeon.training.finetune.results import Epoch, FinetuneResult, Gain

CERTAIN = 2.0
"""Standard errors from which on a difference counts."""

FITTED = 0.97
"""Share of its training images that a network gets right where capacity is not what it lacks."""

BY_HEART = 0.05
"""How much less of the others it gets right, from which on images are what it lacks. Where dynamic
layers gained in docs/accuracy.md it was a hundredth; where they didn't, a tenth."""

MORE_IMAGES = "More or more varied images would help more"

WORTH_COUNTING = 20
"""Times the images at hand, up to which it is worth saying how many a difference would take."""


def verdict_on(result: FinetuneResult) -> str | None:
    """Return what the gain of a run is worth, and where none shows, the likely reason.

    Returns:
        One or two sentences, or None for a run without a static twin.
    """
    if result.gain is None:
        return None
    gain, error = result.gain.difference, result.gain.error
    if gain > 0 and gain >= CERTAIN * error:
        return f"the dynamic network is better by {100 * gain:.2f} points{_price(result)}"
    if gain < 0 and -gain >= CERTAIN * error:
        return (
            f"the dynamic network is worse by {-100 * gain:.2f} points: keep the static one"
            f"{_rate_advice(result)}"
        )
    return f"{_undecided(result.gain)}. {_reason(result)}"


def _price(result: FinetuneResult) -> str:
    if result.cost is None:
        return ""
    return (
        f", at {result.cost.ratio:.2f} times the latency in torch: a larger static network of that "
        "latency is what it has to beat"
    )


def _undecided(gain: Gain) -> str:
    text = (
        f"{gain.samples} validation images show no difference ({100 * gain.difference:+.2f} "
        f"points, standard error {100 * gain.error:.2f})"
    )
    needed = _images_needed(gain)
    if needed is None or needed > WORTH_COUNTING * gain.samples:
        return text
    return f"{text}; it would take {needed:,} to tell one of that size"


def _images_needed(gain: Gain) -> int | None:
    # The standard error falls with the root of the number of images.
    if gain.difference == 0 or gain.error == 0:
        return None
    rough = gain.samples * (CERTAIN * gain.error / gain.difference) ** 2
    return int(float(f"{rough:.1e}"))


def _reason(result: FinetuneResult) -> str:
    epoch = _epoch_of(result, "static")
    learned = epoch.train["static"].accuracy
    if learned >= FITTED:
        return (
            f"The static network gets {learned:.0%} of its training images right: it does not "
            f"lack capacity, which is what dynamic layers add. {MORE_IMAGES}"
        )
    others = epoch.val["static"].accuracy
    if learned - others >= BY_HEART:
        return (
            f"The static network gets {learned:.0%} of its training images right and {others:.0%} "
            f"of the others: it lacks images, and not the capacity that dynamic layers add. "
            f"{MORE_IMAGES}"
        )
    if epoch.number == len(result.history):
        return (
            f"The static network was at its best in its last epoch ({learned:.0%} of its "
            f"training images): train for longer before you judge{_rate_advice(result)}"
        )
    return f"Other seeds would tell{_rate_advice(result)}"


def _rate_advice(result: FinetuneResult) -> str:
    if result.probes:
        return ""
    return "; both ran at one learning rate, --lr auto finds the best of each"


def _epoch_of(result: FinetuneResult, arm: str) -> Epoch:
    return result.history[result.best_epoch[arm] - 1]
