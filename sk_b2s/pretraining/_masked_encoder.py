"""Masked encoder: self-supervised pretraining on EEG/MEG without labels."""

from __future__ import annotations

import hashlib
import json
import warnings
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from skorch.history import History

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks
from sk_b2s._utils._devices import choose_device, choose_dtype_of_device
from sk_b2s._utils._precision import Precision
from sk_b2s.decoding._encoder_network import check_encoder_network_positions, count_encoder_look_ahead
from sk_b2s.decoding._encoder_state import (
    check_encoder_state_weights,
    compute_encoder_state_shapes,
    replace_missing_device,
)
from sk_b2s.decoding._inputs import DecoderInputsMixin
from sk_b2s.decoding._pretrained_trunk import TRUNK, add_subjects_to_pretrained_trunk
from sk_b2s.metrics._tiled import CHUNK_BYTES
from sk_b2s.model_selection._pretraining import describe_pretraining_rows, unite_pretraining_rows
from sk_b2s.nn._brain_module import ACTIVATIONS, BrainModule
from sk_b2s.nn._channel_mixing import SUBJECT_LAYERS
from sk_b2s.nn._data import WindowInputData
from sk_b2s.nn._net import log_net_message
from sk_b2s.nn._prefetch import prefetch_windows_to_device, store_prefetched_windows
from sk_b2s.preprocessing._fingerprint import describe_for_fingerprint
from sk_b2s.preprocessing._windows._checks import check_window_subjects
from sk_b2s.pretraining._masks import MaskedDataset
from sk_b2s.pretraining._net import MaskedLoss, MaskedNet

COUNT = [Interval(Integral, 1, None, closed="left")]
LEAST_EXPLAINED = 1e-3  # of the variance of masked values, below which nothing was learned


class MaskedEncoder(DecoderInputsMixin, TransformerMixin, BaseEstimator):
    """Encoder that estimates masked parts of EEG/MEG windows, without labels.

    Blocks of adjacent samples and neighboring sensors are set to zero, and the
    network estimates them from the rest of the window, as masked
    autoencoders of images [1]_ and of fMRI [2]_ do. The layers before the last
    one are those of :class:`~sk_b2s.BrainEncoder`, which starts from them with
    ``BrainEncoder(init=masked)``. :meth:`transform` returns their output.

    The loss is the mean squared error of the masked values. Each channel of
    each window is scaled to mean 0 and variance 1 for it, so that the loss of
    a guess is 1.

    Parameters
    ----------
    mask_ratio : float, default=0.5
        Fraction of a window that is masked. The values that remain are divided
        by ``1 - mask_ratio``.
    mask_time : float, default=0.1
        Duration of a masked block in seconds. It requires the sampling rate of
        X.
    mask_sensors : float, default=0.5
        Fraction of the sensors in a masked block. A block contains neighboring
        sensors, or channels of adjacent index if X has no positions. With 1,
        all sensors are masked at the same time.
    hidden, depth, kernel_size, n_virtual_channels, spatial_attention, \
spatial_dropout, initial_linear, subject_layer, glu, skip, activation, \
look_ahead
        As in :class:`~sk_b2s.BrainEncoder`, with the same defaults.
        :func:`make_masked_encoder` copies them from a decoder.
    lr : float, default=3e-4
        Learning rate of Adam.
    batch_size : int, default=256
        Maximum number of windows in a batch. Memory is proportional to
        ``batch_size`` and to the length of the windows.
    max_epochs : int, default=20
        Number of passes over X.
    device : str or torch.device, default="auto"
        Device of the network. "auto" uses a GPU if one is available.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the forward pass, as in :class:`~sk_b2s.BrainEncoder`.
    callbacks : list of skorch callbacks or None, default=None
        Additional callbacks.
    random_state : None, int or RandomState, default=None
        Seed of the initial weights, the order of batches, the masks and
        dropout.
    verbose : int, default=1
        If 1, print the loss of each epoch.

    Attributes
    ----------
    net_ : MaskedNet
        Fitted skorch net. ``net_.module_`` is the torch module.
    history_ : skorch.history.History
        ``train_loss`` of each epoch.
    interrupted_ : bool
        Whether training was interrupted by Ctrl-C.
    subjects_ : ndarray of shape (n_subjects,)
        Subjects of X, in the order of their layers.
    recordings_ : DataFrame or None
        Intervals that ``fit`` has seen, with the columns ``subject``,
        ``recording``, ``start`` and ``stop`` in seconds. None if X, or one of
        several, does not have recordings. :func:`~sk_b2s.check_leakage` and
        :func:`~sk_b2s.benchmark` compare them with test windows, and report
        None as unknown recordings.
    stimuli_ : DataFrame or None
        Stimuli that were presented in these intervals, with the columns
        ``stimulus`` (a digest), ``start`` and ``stop`` in seconds of the
        stimulus. None if X does not have ``sound`` and ``sound_onset``.
    n_features_in_, n_features_out_, n_times_in_ : int
        Number of channels, of latent channels and of samples in a window.

    Raises
    ------
    ValueError
        If X has windows of one sample, no sampling rate, or no sensor
        positions although they are required.
    FloatingPointError
        If the loss becomes NaN or infinite.

    Warns
    -----
    ConvergenceWarning
        If training was interrupted, or if the estimates are not better than a
        guess.

    See Also
    --------
    make_grid_segments : Windows on a regular grid over whole recordings.
    make_masked_encoder : Masked encoder with the parameters of a decoder.

    Notes
    -----
    After training, the statistics of batch normalization are computed on
    complete windows, because :meth:`transform` and the encoders that start
    from this one see complete windows.

    The last layer starts at zero, so that the first estimate is the mean of
    each channel. A high learning rate makes the spatial attention select few
    sensors, which can reduce the score of a decoder that starts from it.

    Pretraining does not use labels, but a score of a subject whose recording
    it has seen is transductive. Fit on recordings of other subjects only,
    unless the unlabeled recording would be available in practice as well.

    References
    ----------
    .. [1] He et al. (2022). Masked autoencoders are scalable vision learners.
       CVPR. https://arxiv.org/abs/2111.06377
    .. [2] Chen et al. (2023). MinD-Vis: sparse masked modeling of fMRI for
       vision decoding. CVPR. https://arxiv.org/abs/2211.06956

    Examples
    --------
    >>> import numpy as np
    >>> from sk_b2s import BrainEncoder, MaskedEncoder, Windows
    >>> rng = np.random.default_rng(0)
    >>> sources = rng.standard_normal((64, 2, 50)).cumsum(2)
    >>> eeg = np.einsum("cs,nst->nct", rng.standard_normal((8, 2)), sources)
    >>> X = Windows.from_array(eeg, sfreq=50)
    >>> network = dict(hidden=16, depth=2, n_virtual_channels=8,
    ...                spatial_attention=False, random_state=0, verbose=0)
    >>> masked = MaskedEncoder(**network, lr=3e-3,
    ...                        batch_size=16).fit(X)
    >>> masked.transform(X).shape
    (64, 16, 50)
    >>> masked.score(X) > 0.1
    True
    >>> encoder = BrainEncoder(**network, init=masked, max_epochs=2)
    """

    _parameter_constraints = {
        "mask_ratio": [Interval(Real, 0, 1, closed="neither")],
        "mask_time": [Interval(Real, 0, None, closed="neither")],
        "mask_sensors": [Interval(Real, 0, 1, closed="right")],
        "hidden": COUNT,
        "depth": COUNT,
        "kernel_size": COUNT,
        "n_virtual_channels": COUNT,
        "spatial_attention": ["boolean"],
        "spatial_dropout": [Interval(Real, 0, None, closed="left")],
        "initial_linear": ["boolean"],
        "subject_layer": [StrOptions(set(SUBJECT_LAYERS)), None],
        "glu": ["boolean"],
        "skip": ["boolean"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "look_ahead": [Interval(Real, 0, None, closed="left"), None],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "batch_size": COUNT,
        "max_epochs": COUNT,
        "device": [str, torch.device],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "callbacks": [list, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        mask_ratio=0.5,
        mask_time=0.1,
        mask_sensors=0.5,
        hidden=320,
        depth=10,
        kernel_size=3,
        n_virtual_channels=270,
        spatial_attention=True,
        spatial_dropout=0.2,
        initial_linear=True,
        subject_layer="layer",
        glu=True,
        skip=True,
        activation="gelu",
        look_ahead=None,
        lr=3e-4,
        batch_size=256,
        max_epochs=20,
        device="auto",
        precision="auto",
        callbacks=None,
        random_state=None,
        verbose=1,
    ):
        self.mask_ratio = mask_ratio
        self.mask_time = mask_time
        self.mask_sensors = mask_sensors
        self.hidden = hidden
        self.depth = depth
        self.kernel_size = kernel_size
        self.n_virtual_channels = n_virtual_channels
        self.spatial_attention = spatial_attention
        self.spatial_dropout = spatial_dropout
        self.initial_linear = initial_linear
        self.subject_layer = subject_layer
        self.glu = glu
        self.skip = skip
        self.activation = activation
        self.look_ahead = look_ahead
        self.lr = lr
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.device = device
        self.precision = precision
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    # --- fitting -----------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train the network on windows without labels.

        Parameters
        ----------
        X : Windows of shape (n_windows, n_channels, n_times)
            EEG/MEG windows with a sampling rate. ``Windows`` also provide
            subjects and sensor positions.
        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : MaskedEncoder
            The fitted encoder.
        """
        if self.kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size must be odd, so that a kernel is centered on its sample. Got {self.kernel_size}."
            )
        X = self._check_X(X, reset=True)
        n_block = self._count_block(X)
        random = check_random_state(self.random_state)
        self.subjects_ = np.unique(check_window_subjects(X))
        self.n_times_in_, self.n_features_out_ = X.shape[2], self.hidden
        self.architecture_ = {
            "n_channels": X.shape[1], "n_outputs": X.shape[1], "n_subjects": len(self.subjects_),
            "n_times": X.shape[2], "head": False, "spatial_dropout": self.spatial_dropout,
            "look_ahead": count_encoder_look_ahead(self.look_ahead, X),
            **{name: getattr(self, name) for name in TRUNK},
        }  # fmt: skip
        self.recordings_, self.stimuli_ = describe_pretraining_rows(X)
        self.net_ = self._make_net(random)
        return self._train(X, n_block, random)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Continue training on other windows, for example of a new subject.

        The network starts from its current weights, and is trained for
        ``max_epochs`` passes over X. New subjects start from the average of
        the subject layers. Without an earlier fit, this is the same as
        :meth:`fit`. Continuing on the unlabeled recording of one subject is
        the second stage of MinD-Vis.

        Parameters
        ----------
        X : Windows of shape (n_windows, n_channels, n_times)
            EEG/MEG windows, as in :meth:`fit` and of the same length.
        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : MaskedEncoder
            The fitted encoder.
        """
        if not hasattr(self, "net_"):
            return self.fit(X)
        self.net_.check_weights()
        X = self._check_X(X)
        n_block = self._count_block(X)
        random = check_random_state(self.random_state)
        subjects = check_window_subjects(X)
        weights, history, former = self.net_.state(), self.net_.history, self.subjects_
        self.subjects_ = np.append(former, np.setdiff1d(subjects, former))
        weights = add_subjects_to_pretrained_trunk(weights, self.subject_layer, former, self.subjects_)
        self.architecture_ = {**self.architecture_, "n_subjects": len(self.subjects_)}
        self.recordings_, self.stimuli_ = unite_pretraining_rows(
            (self.recordings_, self.stimuli_), describe_pretraining_rows(X)
        )
        self.net_ = self._make_net(random)
        self.net_.load_state(weights)
        self.net_.history = history
        return self._train(X, n_block, random)

    def _check_X(self, X, reset=False):
        """Check windows, their length and their sensor positions."""
        X = self._check_windows(X, reset, any_channels=self.spatial_attention)
        if not len(X):
            raise ValueError("X has no windows. MaskedEncoder requires at least one.")
        check_encoder_network_positions(X, self.spatial_attention)
        if X.shape[1] != getattr(self, "architecture_", {}).get("n_outputs", X.shape[1]) and not reset:
            raise ValueError(
                f"X has {X.shape[1]} channels, but MaskedEncoder was fitted on {self.n_features_in_}. Use one fitted "
                f"Epocher for both. Channels that a recording lacks are then zero."
            )
        if X.shape[2] < 2:
            raise ValueError(
                f"MaskedEncoder requires windows of at least 2 samples, an array of shape (n_windows, n_channels, "
                f"n_times). Got {X.shape[2]} sample per window."
            )
        return X

    def _count_block(self, X):
        """Return the number of samples of a masked block."""
        if X.sfreq is None:
            raise ValueError(
                f"mask_time={self.mask_time} is in seconds and requires the sampling rate of X, which an array does not "
                f"have. Pass Windows.from_array(X, sfreq=...)."
            )
        n_block = max(1, round(self.mask_time * X.sfreq))
        if n_block >= X.shape[2]:
            raise ValueError(
                f"mask_time must be shorter than a window. Got {self.mask_time} s for windows of "
                f"{X.shape[2] / X.sfreq:.3g} s."
            )
        return n_block

    def _train(self, X, n_block, random):
        """Train the net on windows, and set the results."""
        device = choose_device(self.device)
        (X,) = prefetch_windows_to_device(device, X)
        brain = self._make_inputs(store_prefetched_windows(device, X))
        masks = np.random.RandomState(random.randint(np.iinfo(np.int32).max))
        self.net_.partial_fit(self._make_dataset(brain, n_block, masks), None)
        self.history_, self.interrupted_ = self.net_.history, self.net_.interrupted
        self.net_.normalize_complete(brain)
        if not all(
            torch.isfinite(one).all() for one in self.net_.module_.buffers() if one.is_floating_point()
        ):
            raise FloatingPointError(
                "The statistics of complete windows are NaN or infinite, so X contains such values. Remove these windows, or "
                "fix the input files."
            )
        self.net_.drop_training()
        self._warn_learned_nothing()
        return self

    def _make_dataset(self, brain, n_block, random):
        n_groups = max(1, round(1 / self.mask_sensors))
        return MaskedDataset(brain, min(n_groups, self.n_features_in_), n_block, self.mask_ratio, random)

    def _make_inputs(self, X):
        return WindowInputData(X, self._get_subject_index(X, in_fit=True), choose_device(self.device))

    def _make_net(self, random):
        """Build a skorch net with weights drawn from ``random``."""
        device = choose_device(self.device)
        seed, dropout_seed = (int(s) for s in random.randint(np.iinfo(np.int32).max, size=2))
        net = MaskedNet(
            BrainModule, MaskedLoss,
            **{f"module__{name}": value for name, value in self.architecture_.items()},
            optimizer=torch.optim.Adam, optimizer__fused=True, lr=self.lr, max_epochs=self.max_epochs,
            batch_size=self.batch_size, train_split=None,
            shuffle=np.random.RandomState(random.randint(np.iinfo(np.int32).max)),
            callbacks=list(self.callbacks or []),
            **({"callbacks__print_log__sink": log_net_message} if self.verbose else {"callbacks__print_log": None}),
            precision=Precision(choose_dtype_of_device(self.precision, device), type(self).__name__),
            device=str(device), verbose=self.verbose,
        )  # fmt: skip
        return net.initialize_with_seeds(seed, dropout_seed)

    def _warn_learned_nothing(self):
        """Warn if training was interrupted or learned nothing."""
        loss = self.history_[-1]["train_loss"] if len(self.history_) else 1.0
        finding = None
        if self.interrupted_:
            finding = (
                f"training was interrupted in epoch {len(self.history_)} of {self.max_epochs}. Fit again"
            )
        elif loss > 1 - LEAST_EXPLAINED:
            finding = (
                f"the loss of {loss:.4f} is not below the 1 of a guess, so the encoder learned nothing. Try a larger "
                f"max_epochs or lr, more data, or RobustChannelScaler(clip=20) before the encoder"
            )
        if finding:
            warnings.warn(f"{finding}.", ConvergenceWarning, stacklevel=4)

    # --- results -----------------------------------------------------------------------------------

    def transform(self, X):
        """Compute the latent channels of complete windows.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels, n_times)
            EEG/MEG windows, of the length of those in :meth:`fit`. Unseen
            subjects have the average of the subject layers.

        Returns
        -------
        latent : ndarray of shape (n_windows, hidden, n_times)
            Output of the last convolution, float32.

        Raises
        ------
        ValueError
            If X has NaN or infinite values.
        """
        check_is_fitted(self)
        brain = self._make_inputs(self._check_X(X))
        out = np.empty((len(brain), self.n_features_out_, self.n_times_in_), np.float32)
        n_rows = min(self.batch_size, count_chunk_rows(CHUNK_BYTES, *out.shape[1:]))
        for part in slice_rows_into_chunks(len(out), n_rows):
            out[part] = self.net_.embed_latent(brain.inputs(np.arange(part.start, part.stop))).cpu().numpy()
            if len(wrong := np.flatnonzero(~np.isfinite(out[part]).all((1, 2)))):
                raise ValueError(
                    f"X has NaN or infinite values in window {part.start + wrong[0]} ({len(wrong)} of {len(out[part])} "
                    f"windows of its batch). Remove these windows, or fix the input files."
                )
        return out

    def score(self, X, y=None):
        """Compute the fraction of the variance of masked values explained.

        The masks are the same in each call with the same X.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels, n_times)
            EEG/MEG windows.
        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        score : float
            1 for perfect estimates, 0 for the mean of each channel.

        Raises
        ------
        ValueError
            If X has NaN or infinite values.
        """
        check_is_fitted(self)
        X = self._check_X(X)
        n_block = max(1, round(self.mask_time * (X.sfreq or self.sfreq_in_)))
        dataset = self._make_dataset(self._make_inputs(X), n_block, np.random.RandomState(0))
        if not np.isfinite(loss := self.net_.measure(dataset)):
            raise ValueError("X has NaN or infinite values. Remove these windows, or fix the input files.")
        return 1.0 - loss

    def get_trunk_weights(self):
        """Return the weights that :class:`~sk_b2s.BrainEncoder` starts from.

        Returns
        -------
        weights : dict of str to Tensor
            Weights and statistics of all layers before the last one.
        """
        check_is_fitted(self)
        state = self.net_.module_.state_dict()
        return {name: value for name, value in state.items() if not name.startswith("last.")}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        tags.non_deterministic = self.random_state is None
        return tags

    # --- state -------------------------------------------------------------------------------------

    def _describe_fitted(self):
        """Describe the fitted values for a fingerprint, None if not fitted."""
        if not hasattr(self, "net_"):
            return None
        weights = {name: value.cpu().numpy() for name, value in self.net_.state().items()}
        content = [list(map(str, self.subjects_)), self.architecture_, weights]
        return hashlib.sha256(json.dumps(describe_for_fingerprint(content)).encode()).hexdigest()

    def _get_saved_state(self):
        """Return fitted attributes, with weights instead of the net."""
        params = self.get_params(deep=False)
        state = {name: value for name, value in vars(self).items() if name not in params}
        if "net_" in state:
            state["weights"] = state.pop("net_").state()
            state["history_"] = list(self.history_)
        return state

    def _set_saved_state(self, state):
        """Set fitted attributes, and build a net with their weights."""
        weights = state.pop("weights", None)
        vars(self).update(state)
        replace_missing_device(self)
        if weights is None:
            return
        made, expected = self.architecture_, {"n_channels": self.n_features_in_, "n_outputs": self.n_features_in_,
                                              "n_subjects": len(self.subjects_), "n_times": self.n_times_in_}  # fmt: skip
        if any(made.get(name) != length for name, length in expected.items()):
            raise ValueError(f"the architecture must have {expected}.")
        shapes = compute_encoder_state_shapes(BrainModule, made, self._parameter_constraints, len(weights))
        check_encoder_state_weights(weights, shapes)
        self.net_ = self._make_net(np.random.RandomState(0))
        self.net_.load_state(weights)
        self.net_.history = self.history_ = History(state["history_"])
        self.net_.drop_training()
