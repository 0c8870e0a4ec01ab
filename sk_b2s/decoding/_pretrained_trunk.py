"""Start of an encoder from a pretrained trunk."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from sk_b2s._utils._estimators import find_innermost_estimator
from sk_b2s.decoding._adaptation import LAYER_NAMES
from sk_b2s.decoding._encoder_network import count_encoder_look_ahead

# Parameters of BrainEncoder that determine the trunk, the layers before the head.
TRUNK = (
    "hidden", "depth", "kernel_size", "n_virtual_channels", "spatial_attention", "initial_linear", "subject_layer",
    "glu", "skip", "activation",
)  # fmt: skip


def check_pretrained_trunk(encoder, X):
    """Raise unless the trunk of ``init`` fits the encoder and the windows."""
    init = encoder.init
    if init is None:
        if encoder.freeze:
            raise ValueError("freeze=True requires init, a fitted MaskedEncoder. Set init, or freeze=False.")
        return
    if encoder.module is not None:
        raise ValueError(
            f"init has the layers of the network of this package and cannot start module={encoder.module!r}. Set "
            f"init=None. A Module with its weights can be passed as module."
        )
    if not hasattr(init, "get_trunk_weights"):
        last, _ = find_innermost_estimator(init)
        way_out = " Pass its last step, init=pipeline[-1]." if hasattr(last, "get_trunk_weights") else ""
        raise ValueError(f"init must be a fitted MaskedEncoder. Got {type(init).__name__} instead.{way_out}")
    if not hasattr(init, "net_"):
        raise ValueError(
            f"init must be fitted. Got an unfitted {type(init).__name__}. Call init.fit(X) on windows without labels "
            f"before fitting the encoder. A search clones the values of its grid, which are then not fitted. Wrap them "
            f"there: sklearn.frozen.FrozenEstimator(masked)."
        )
    made = {name: getattr(encoder, name) for name in TRUNK}
    made["look_ahead"] = count_encoder_look_ahead(encoder.look_ahead, X)
    known = init.architecture_
    if wrong := [name for name in made if made[name] != known[name]]:
        values = ", ".join(f"{name}={made[name]!r} (init: {known[name]!r})" for name in wrong)
        raise ValueError(
            f"init must have the same layers as the encoder. These parameters differ: {values}. Set them to equal "
            f"values, for example with make_masked_encoder."
        )
    if None not in (X.sfreq, init.sfreq_in_) and not np.isclose(X.sfreq, init.sfreq_in_):
        raise ValueError(
            f"X has windows at {X.sfreq:g} Hz, but init was fitted at {init.sfreq_in_:g} Hz. Resample X to that rate, "
            f"or fit init again."
        )
    if encoder.spatial_attention:
        return
    if X.shape[1] != known["n_channels"]:
        raise ValueError(
            f"X has {X.shape[1]} channels, but init was fitted on {known['n_channels']}. Use the Epocher of init, or "
            f"spatial_attention=True in both."
        )
    if None not in (X.ch_names, init.ch_names_in_) and tuple(X.ch_names) != tuple(init.ch_names_in_):
        place = next(
            i for i, pair in enumerate(zip(X.ch_names, init.ch_names_in_, strict=True)) if pair[0] != pair[1]
        )
        raise ValueError(
            f"X has other channels than init, or another order (channel {place} is {X.ch_names[place]!r}, in init "
            f"{init.ch_names_in_[place]!r}). Use the Epocher of init, or spatial_attention=True in both."
        )


def load_pretrained_trunk(encoder):
    """Copy the weights of ``init`` into the net, and apply ``freeze``."""
    init = encoder.init
    if init is None:
        return
    weights = add_subjects_to_pretrained_trunk(
        init.get_trunk_weights(), encoder.subject_layer, init.subjects_, encoder.subjects_
    )
    encoder.net_.module_.load_state_dict({**encoder.net_.module_.state_dict(), **weights})
    if encoder.freeze:
        encoder.net_.freeze_trunk()


def add_subjects_to_pretrained_trunk(weights, subject_layer, known, subjects):
    """Return weights with the layers of ``subjects`` instead of ``known``.

    New subjects get the average of the known layers.
    """
    name = LAYER_NAMES.get(subject_layer)
    if name is None:
        return weights
    rows = torch.cat(
        [weights[name], weights[name].mean(0, keepdim=True)]
    )  # unknown subjects have the index -1
    return {**weights, name: rows[torch.from_numpy(pd.Index(known).get_indexer(subjects))].clone()}
