"""Masked encoders with the parameters of a decoder."""

from __future__ import annotations

import inspect

from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sk_b2s._utils._estimators import find_innermost_estimator
from sk_b2s.decoding._encoder import BrainEncoder
from sk_b2s.pretraining._masked_encoder import MaskedEncoder

NOT_COPIED = ("callbacks", "max_epochs")  # of training with labels


def make_masked_encoder(decoder, **params):
    """Make a masked encoder with the layers of a decoder.

    Parameters
    ----------
    decoder : BrainEncoder or Pipeline
        Encoder, or a Pipeline that ends in one, for example of
        :func:`~sk_b2s.make_decoders`. It is not changed.
    **params
        Other parameters of :class:`MaskedEncoder`.

    Returns
    -------
    masked : MaskedEncoder or Pipeline
        Unfitted. All parameters that both encoders have are copied, except
        ``callbacks`` and ``max_epochs``. If ``decoder`` is a Pipeline, the
        other steps are cloned, and the last step has the name "masked".

    Raises
    ------
    TypeError
        If ``decoder`` does not end in a :class:`~sk_b2s.BrainEncoder`.

    Examples
    --------
    >>> from sk_b2s import make_decoders, make_masked_encoder
    >>> decoder = make_decoders("clip-mel", random_state=0)["clip-mel"]
    >>> masked = make_masked_encoder(decoder, mask_ratio=0.6)
    >>> list(masked.named_steps), masked["masked"].hidden
    (['epochs', 'scale', 'align', 'masked'], 32)
    """
    encoder, _ = find_innermost_estimator(decoder)
    if not isinstance(encoder, BrainEncoder) or not isinstance(decoder, (BrainEncoder, Pipeline)):
        raise TypeError(
            f"decoder must be a BrainEncoder, or a Pipeline that ends in one. Got {type(decoder).__name__} that ends in "
            f"{type(encoder).__name__} instead. RidgeDecoder and LikelihoodDecoder have no layers to pretrain."
        )
    names = set(inspect.signature(MaskedEncoder).parameters) - set(NOT_COPIED)
    shared = {name: value for name, value in encoder.get_params(deep=False).items() if name in names}
    masked = MaskedEncoder(**{**shared, **params})
    if not isinstance(decoder, Pipeline):
        return masked
    return Pipeline([*((name, clone(step)) for name, step in decoder.steps[:-1]), ("masked", masked)])
