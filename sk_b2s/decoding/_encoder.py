"""Brain encoder of Défossez et al. (2023) as a scikit-learn estimator."""

from __future__ import annotations

import copy
import os
from numbers import Integral, Real

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, _clone_parametrized, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from sk_b2s._utils._devices import choose_device
from sk_b2s._utils._validation import validate_rows_in_step
from sk_b2s.decoding._adaptation import AdaptationMixin
from sk_b2s.decoding._encoder_module import CustomModuleMixin
from sk_b2s.decoding._encoder_network import (
    EncoderNetworkMixin,
    check_encoder_network_parameters,
    warn_encoder_network_learned_nothing,
)
from sk_b2s.decoding._encoder_state import EncoderStateMixin
from sk_b2s.decoding._incremental._encoder import PartialFitEncoderMixin
from sk_b2s.decoding._mixins import EstimatesMixin, RetrievalMixin
from sk_b2s.decoding._pretrained_trunk import check_pretrained_trunk, load_pretrained_trunk
from sk_b2s.decoding._stimulus_artifacts import warn_stimulus_artifact_channels
from sk_b2s.decoding._unseen_subjects import UnseenSubjectMixin
from sk_b2s.nn._brain_module import ACTIVATIONS
from sk_b2s.nn._channel_mixing import SUBJECT_LAYERS
from sk_b2s.nn._data import PairDataset, WindowInputData
from sk_b2s.nn._prefetch import prefetch_windows_to_device, store_prefetched_windows
from sk_b2s.nn._registry import LOSSES
from sk_b2s.nn._training_checkpoint import train_net_with_checkpoint
from sk_b2s.nn.functional import DUPLICATES
from sk_b2s.preprocessing._windows._checks import check_window_subjects


class BrainEncoder(
    CustomModuleMixin,
    EncoderNetworkMixin,
    EncoderStateMixin,
    AdaptationMixin,
    PartialFitEncoderMixin,
    UnseenSubjectMixin,
    RetrievalMixin,
    EstimatesMixin,
    BaseEstimator,
):
    """Convolutional encoder that maps EEG/MEG windows to speech features.

    The encoder of Défossez et al. [1]_ consists of spatial attention over the
    sensors, one linear layer per subject and dilated convolutions. It is
    trained with a contrastive loss: the output for a window becomes more
    similar to the speech presented in that window than to the other speech
    segments of the batch. The same similarity ranks candidate segments in
    :meth:`predict` and :meth:`score`.

    All subjects share one network. :class:`RidgeDecoder` is the linear
    alternative, with one model per subject by default.

    Parameters
    ----------
    speech : estimator or None, default=None
        Transformer from the table of stimulus segments to speech features, for
        example ``make_pipeline(MelSpectrogram(), FeatureScaler())``. It is
        fitted on the training rows only, and its parameters can be searched as
        ``speech__...``. If None, ``y`` must contain the features.
    hidden : int, default=320
        Number of channels of the convolutions.
    depth : int, default=10
        Number of convolutions. Their dilations are 1, 2, 4, 8, 16, 1, and so
        on. Ten convolutions have a receptive field of 1.1 s at 120 Hz.
    kernel_size : int, default=3
        Kernel size of the convolutions in samples. Must be odd.
    n_virtual_channels : int, default=270
        Number of output channels of the spatial attention, which are also the
        channels of the subject layers.
    spatial_attention : bool, default=True
        If True, combine sensors with weights that depend on their positions,
        which X must provide. If False, learn one weight per channel. Channels
        must then be the same in every recording.
    spatial_dropout : float, default=0.2
        Radius of the spatial dropout, for a sensor layout of side length 1. In
        each training step, sensors within this distance of a random point are
        left out. Only used with ``spatial_attention=True``.
    initial_linear : bool, default=True
        If True, add a linear layer before the subject layer.
    subject_layer : {"layer", "embedding"} or None, default="layer"
        Parameters of each subject. "layer" is one matrix per subject.
        "embedding" is one vector per subject, which needs less data. If None,
        all parameters are shared.
    subject_dropout : float, default=0.0
        Fraction of training windows that are treated as windows of an unseen
        subject, so that the network learns to work with the average subject
        layer. Useful for decoders of unseen subjects. Not part of [1]_.
    channel_dropout : float, default=0.0
        Fraction of channels that are set to zero in each training window,
        drawn independently. The other channels are divided by
        ``1 - channel_dropout``. Unlike ``spatial_dropout`` it does not require
        positions, and differs between the windows of a batch.
    time_dropout : float, default=0.0
        Fraction of the samples of each training window that is set to zero in
        all channels. The samples are adjacent, at a random position.
    lag_jitter : float, default=0.0
        Largest random shift of each training window relative to its speech
        features, in seconds, in both directions. Samples from outside of the
        window are zero. It requires the sampling rate of X.
    glu : bool, default=True
        If True, add a gated linear unit after every second convolution.
    skip : bool, default=True
        If True, add residual connections.
    head : bool, default=True
        If True, end with two convolutions of kernel size 1. If False, end with
        one linear map.
    activation : {"gelu", "relu"}, default="gelu"
        Activation function between layers.
    speech_embedding_dim : int or None, default=None
        Number of output features of a second convolutional network, which is
        applied to the speech features and trained together with the encoder.
        With 768 outputs and a :class:`MelSpectrogram` it is the Deep Mel model
        of [1]_. It uses the values of ``hidden``, ``depth``, ``kernel_size``,
        ``glu``, ``skip`` and ``activation``, and requires a contrastive loss.
        If None, outputs are compared with the speech features themselves.
    target_dim : int or None, default=None
        Number of output features of a linear map of the speech features, which
        is applied to each frame and trained together with the encoder.
        Estimates and candidates are compared in these dimensions, so that the
        time of scoring decreases in proportion. LISA [2]_ reports equal scores
        for 12 of the 768 dimensions of wav2vec 2.0. It requires a contrastive
        loss, and cannot be combined with ``speech_embedding_dim``. If None,
        the speech features are not mapped.
    loss : {"clip", "symmetric_clip", "siglip", "mse"}, default="clip"
        Training loss, see :mod:`sk_b2s.nn.functional` for the formulas.

        - "clip" is the contrastive loss of [1]_: cross-entropy over the
          segments of the batch, on unscaled similarities.
        - "symmetric_clip" is the loss of CLIP: cross-entropy in both
          directions, on cosine similarities with a learned temperature.
        - "siglip" is the loss of SigLIP: one binary decision for each pair of
          window and segment, on cosine similarities with a learned
          temperature and bias.
        - "mse" is the mean squared error, without a contrast.

        After training on cosine similarities, estimates are scaled so that
        their similarities equal the logits of the loss.
    duplicates : {"keep", "mask", "positive"}, default="keep"
        Treatment of windows in the batch that have the same segment as the
        window in question. "keep" treats them as negatives, as in [1]_,
        "mask" leaves them out, and "positive" treats them as positives. Set it
        if several subjects listened to the same stimuli. Not used with
        ``loss="mse"``.
    lr : float, default=3e-4
        Learning rate of Adam. Lower it if training diverges.
    weight_decay : float, default=0.0
        Weight decay of AdamW. In each step, weights are multiplied by
        ``1 - lr * weight_decay``. It applies to convolutions, linear maps and
        spatial attention, also those of the speech features, but not to
        biases, normalization, subject layers and the parameters of the loss.
        With 0, the optimizer is Adam. :meth:`adapt` does not use it.
    weight_averaging : float, default=0.0
        Decay per step of an exponential moving average of the weights, which
        replaces the weights of the last step in validation and predictions.
        0.99 averages over about 100 steps, which makes small experiments less
        dependent on ``random_state``. :meth:`adapt` does not use it. With 0,
        weights are not averaged.
    batch_size : int, default=256
        Maximum number of windows in a batch. A smaller batch has fewer
        negatives, which makes the contrastive task easier. Batches have equal
        sizes, up to one window.
    max_epochs : int, default=200
        Maximum number of passes over the training data.
    patience : int, default=10
        Number of epochs without a lower validation loss after which training
        stops. The best weights are restored. The validation loss is the
        cross-entropy of all held-out windows over their distinct segments, at
        its best temperature. The authors of [1]_ used the training loss
        instead, which can rise while the ranking of segments still improves.
    validation : float, splitter or None, default=0.1
        Data for early stopping. A float is the fraction of windows to hold
        out, in whole stimulus blocks with a gap, so that no stimulus is in
        both parts. A splitter must yield one split of X and y. If None, train
        for ``max_epochs``.
    k : int, default=10
        Number of candidates that count as a hit in :meth:`score`.
    unseen_subject : {"average", "nearest", "error"}, default="average"
        Prediction for subjects that are not in the training data. "average"
        uses the mean of the subject layers. "nearest" uses the layer of the
        training subject with the smallest Riemannian distance between
        covariances. It needs no labels, but all of the recordings from which
        the windows of X are cut. "error" raises. With labeled calibration
        data, :meth:`adapt` is more accurate.
    device : str or torch.device, default="auto"
        Device of the network, for example "cpu" or "cuda". "auto" uses a GPU
        if one is available.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the forward pass. Weights and losses are always float32.
        "auto" uses bfloat16 if the device supports it natively. With bfloat16,
        eight windows of the first batch are also computed in float32. If the
        results differ too much, the network continues in float32 with a
        warning (see Notes).
    callbacks : list of skorch callbacks or None, default=None
        Additional callbacks, called after those of this package. The
        validation set is scored at once and not in batches, so an
        ``EpochScoring`` callback needs ``use_caching=False``.
    random_state : None, int or RandomState, default=None
        Seed of the initial weights, the order of batches, dropout and the
        validation split. On a CPU, the same seed gives the same weights to the
        bit for the same number of threads, processor and version of torch. On
        a GPU, the order of summation is not fixed.
    verbose : int, default=1
        If 1, print the losses and the validation accuracy of each epoch.
    look_ahead : float or None, default=None
        Largest number of seconds of later EEG/MEG on which an estimate
        depends, rounded down to samples. 0 uses past samples only, as in a
        decoder that runs during the recording. Short kernels look ahead first.
        If None, kernels are centered as in [1]_ (0.56 s ahead with ten
        convolutions at 120 Hz). It requires the sampling rate of X.
    module : class of torch.nn.Module, callable, Module or None, default=None
        Network that replaces the one of [1]_ (see Notes). A class or callable
        is called in ``fit``. A ``Module`` is copied, and training starts from
        its weights. Its arguments are parameters of this class with the prefix
        ``module__``, as in skorch, and can be searched. If None, use the
        network of [1]_.
    warm_start : bool, default=False
        If True, ``fit`` starts from the weights of the previous ``fit``. The
        channels, subjects and parameters of the network must be the same.
    checkpoint : path-like or None, default=None
        Folder in which ``fit`` stores the state of training after each epoch.
        ``fit`` with the same data and parameters continues after an
        interruption, and its weights equal those of a fit without one to the
        bit. A fit that is complete is read instead of trained again. Callbacks
        are compared by their class and parameters, unless they have the
        attribute ``changes_training = False``.
        Requires an integer ``random_state``. If None, nothing is stored.
    init : MaskedEncoder or None, default=None
        Fitted :class:`~sk_b2s.MaskedEncoder` from whose weights all layers
        before the head start. Layers and sampling rate must be equal, and
        channels as well without spatial attention. Subjects that it has not
        seen start from the average of its subject layers. It is not cloned, so
        that it stays fitted in :func:`~sk_b2s.benchmark` and searches. A
        search over several of them needs each in a
        :class:`~sklearn.frozen.FrozenEstimator`. If None, all weights are
        random.
    freeze : bool, default=False
        If True, only the head and the layers after it are trained, on the
        fixed output of ``init``. With ``head=False`` this is a linear probe.
        :meth:`adapt` also trains the layer of a new subject.
    distributed : bool, default=False
        If True, train with all processes that ``accelerate launch`` or
        ``torchrun`` started, one per GPU. Each process trains on other
        batches, so an epoch has fewer steps. Segments are compared within the
        batch of a process. It requires ``precision="float32"`` and accelerate.

    Attributes
    ----------
    net_ : RetrievalNet
        Fitted skorch net. ``net_.module_`` is the torch module.
    history_ : skorch.history.History
        Losses and validation accuracy of each epoch. ``valid_cross_entropy``
        is ``valid_loss`` without a temperature.
    interrupted_ : bool
        Whether training was interrupted by Ctrl-C. The encoder then has its
        best weights until the interruption, or its last ones without
        validation.
    subjects_ : ndarray of shape (n_subjects,)
        Sorted subjects of the training rows. Subjects that occur only in the
        validation rows are not included.
    segments_ : DataFrame, Windows or ndarray
        Distinct segments of ``fit``, the default candidates of
        :meth:`predict`.
    speech_ : estimator or None
        Fitted ``speech``.
    shared_response_ : SharedResponse or None
        Response to speech that the subjects have in common, used by
        :meth:`adapt`. None unless ``subject_layer="layer"``.
    covariances_ : ndarray of shape (n_subjects, n_virtual_channels, \
n_virtual_channels)
        Covariance of the inputs of each subject layer. Only with
        ``unseen_subject="nearest"``.
    frame_weights_ : ndarray of shape (n_frames,)
        Number of EEG/MEG samples in each frame of the speech features.
    recording_intervals_ : StimulusIntervals or None
        Intervals of the recordings in ``fit``. :meth:`predict` without
        candidates warns about other intervals.
    stimulus_intervals_ : StimulusIntervals or None
        Intervals of the stimuli in ``fit``, and in former ones with
        ``warm_start``. :meth:`score` warns if it is given the same stimuli.
    n_features_in_, n_features_out_, n_times_in_ : int
        Number of channels, of output features and of samples in a window.
    n_speech_features_ : int
        Number of features of ``y``. Differs from ``n_features_out_`` if
        ``speech_embedding_dim`` or ``target_dim`` is set.

    Raises
    ------
    ValueError
        If X and y do not match, sensor positions are missing, or ``y`` has
        only one distinct segment.
    FloatingPointError
        If the loss becomes NaN or infinite.

    Warns
    -----
    ConvergenceWarning
        If training was interrupted, or if neither the validation loss nor the
        training loss is below that of a guess.
    UserWarning
        If a parameter has no effect because of another parameter, recordings
        or channels are constant, a channel of X contains the audio signal, or
        bfloat16 is inaccurate on this device.

    See Also
    --------
    RidgeDecoder : Linear decoder with the same methods.
    CalibratedDecoder : Pretrain on other subjects and adapt to a new one.
    MaskedEncoder : Pretraining without labels, for ``init``.
    make_decoders : Pipelines with the settings of [1]_.

    Notes
    -----
    The comparison of bfloat16 with float32 covers the first batch that is
    trained on, estimated or encoded. The network switches to float32 if a
    matrix product or its gradient differs by more than 2 %, estimates differ
    by more than 20 % of their deviation from the mean, or all gradients
    together differ by more than 70 %. The comparison itself does not change
    any result.

    A ``module`` is called with those of the following arguments that its
    signature names: ``n_chans`` or ``n_channels``, ``n_times``, ``n_outputs``
    (number of speech features), ``n_frames`` (their frames in a window),
    ``n_subjects`` and ``sfreq``. Its ``forward`` is called with the windows
    ``(n_windows, n_channels, n_times)``, and with ``subject`` (int64 of shape
    ``(n_windows,)``, -1 for unseen subjects) and ``positions`` of shape
    ``(n_windows, n_channels, 2)`` if it has arguments of these names. It
    returns ``(n_windows, n_outputs, n_frames)``, or one value per sample
    instead of per frame, which is averaged. A network that returns a vector
    per window gets ``n_outputs`` times ``n_frames`` as ``n_outputs``. A vector
    of as many numbers as there are features is the estimate of all frames.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive
       brain recordings. Nature Machine Intelligence 5:1097.
       https://doi.org/10.1038/s42256-023-00714-5
    .. [2] LISA (2026). https://arxiv.org/abs/2608.01481

    Examples
    --------
    >>> import numpy as np
    >>> from sk_b2s.decoding import BrainEncoder
    >>> rng = np.random.default_rng(0)
    >>> speech = rng.standard_normal((64, 4, 30)).astype("float32")
    >>> noise = rng.standard_normal((64, 8, 30)).astype("float32")
    >>> eeg = np.repeat(speech, 2, axis=1) + 0.1 * noise
    >>> encoder = BrainEncoder(
    ...     hidden=16, depth=2, n_virtual_channels=8, spatial_attention=False,
    ...     max_epochs=8, lr=3e-3, validation=None, random_state=0, verbose=0,
    ... )
    >>> encoder.fit(eeg[:48], speech[:48]).score(eeg[48:], speech[48:]) > 0.9
    True
    """

    accepts_unequal_lengths = True  # zeros of y do not count in the similarity
    _parameter_constraints = {
        "speech": [HasMethods(["fit", "transform"]), None],
        "hidden": [Interval(Integral, 1, None, closed="left")],
        "depth": [Interval(Integral, 1, None, closed="left")],
        "kernel_size": [Interval(Integral, 1, None, closed="left")],
        "n_virtual_channels": [Interval(Integral, 1, None, closed="left")],
        "spatial_attention": ["boolean"],
        "spatial_dropout": [Interval(Real, 0, None, closed="left")],
        "initial_linear": ["boolean"],
        "subject_layer": [StrOptions(set(SUBJECT_LAYERS)), None],
        "subject_dropout": [Interval(Real, 0, 1, closed="both")],
        "channel_dropout": [Interval(Real, 0, 1, closed="left")],
        "time_dropout": [Interval(Real, 0, 1, closed="left")],
        "lag_jitter": [Interval(Real, 0, None, closed="left")],
        "glu": ["boolean"],
        "skip": ["boolean"],
        "head": ["boolean"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "speech_embedding_dim": [Interval(Integral, 1, None, closed="left"), None],
        "target_dim": [Interval(Integral, 1, None, closed="left"), None],
        "loss": [StrOptions(set(LOSSES))],
        "duplicates": [StrOptions(set(DUPLICATES))],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "weight_averaging": [Interval(Real, 0, 1, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "validation": [Interval(Real, 0, 1, closed="neither"), HasMethods(["split"]), None],
        "k": [Interval(Integral, 1, None, closed="left")],
        "unseen_subject": [StrOptions({"average", "nearest", "error"})],
        "device": [str, torch.device],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "callbacks": [list, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "look_ahead": [Interval(Real, 0, None, closed="left"), None],
        "module": [callable, None],
        "warm_start": ["boolean"],
        "checkpoint": [str, os.PathLike, None],
        "init": [HasMethods(["fit"]), None],
        "freeze": ["boolean"],
        "distributed": ["boolean"],
    }

    def __init__(
        self,
        speech=None,
        hidden=320,
        depth=10,
        kernel_size=3,
        n_virtual_channels=270,
        spatial_attention=True,
        spatial_dropout=0.2,
        initial_linear=True,
        subject_layer="layer",
        subject_dropout=0.0,
        channel_dropout=0.0,
        time_dropout=0.0,
        lag_jitter=0.0,
        glu=True,
        skip=True,
        head=True,
        activation="gelu",
        speech_embedding_dim=None,
        target_dim=None,
        loss="clip",
        duplicates="keep",
        lr=3e-4,
        weight_decay=0.0,
        weight_averaging=0.0,
        batch_size=256,
        max_epochs=200,
        patience=10,
        validation=0.1,
        k=10,
        unseen_subject="average",
        device="auto",
        precision="auto",
        callbacks=None,
        random_state=None,
        verbose=1,
        look_ahead=None,
        module=None,
        warm_start=False,
        checkpoint=None,
        init=None,
        freeze=False,
        distributed=False,
        **module_params,
    ):
        self.speech = speech
        self.hidden = hidden
        self.depth = depth
        self.kernel_size = kernel_size
        self.n_virtual_channels = n_virtual_channels
        self.spatial_attention = spatial_attention
        self.spatial_dropout = spatial_dropout
        self.initial_linear = initial_linear
        self.subject_layer = subject_layer
        self.subject_dropout = subject_dropout
        self.channel_dropout = channel_dropout
        self.time_dropout = time_dropout
        self.lag_jitter = lag_jitter
        self.glu = glu
        self.skip = skip
        self.head = head
        self.activation = activation
        self.speech_embedding_dim = speech_embedding_dim
        self.target_dim = target_dim
        self.loss = loss
        self.duplicates = duplicates
        self.lr = lr
        self.weight_decay = weight_decay
        self.weight_averaging = weight_averaging
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.validation = validation
        self.k = k
        self.unseen_subject = unseen_subject
        self.device = device
        self.precision = precision
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose
        self.look_ahead = look_ahead
        self.module = module
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self._store_module_params(module_params)
        self.init = init
        self.freeze = freeze
        self.distributed = distributed

    # --- fitting -----------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Train the network.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows. ``Windows`` provide subjects and sensor positions.
            An array has one unnamed subject and no positions.
        y : DataFrame, Windows or array-like of shape \
(n_windows[, n_features[, n_frames]])
            Stimulus segments for ``speech``, or features without ``speech``.
            One row per window.

        Returns
        -------
        self : BrainEncoder
            The fitted encoder.
        """
        check_encoder_network_parameters(self)
        previous = self._get_previous_fit()
        X = self._check_X(X, reset=True)
        check_pretrained_trunk(self, X)
        y = self._check_y(y)
        validate_rows_in_step(X, y)
        if self.unseen_subject == "nearest":
            self._check_one_subject_per_recording(X)
        random = check_random_state(self.random_state)
        segments = self._fit_segments(y).target
        train, valid = self._split(X, y, segments, random)
        self._fit_stimulus_intervals(y, train if valid is None else np.concatenate([train, valid]))
        self._fit_recording_intervals(X)
        targets = self._fit_speech(y, train)
        warn_stimulus_artifact_channels(X, y, targets)
        self._fit_shapes(X, y, targets, train)
        targets, ready = prefetch_windows_to_device(choose_device(self.device), targets, X)
        brain = self._make_inputs(store_prefetched_windows(choose_device(self.device), ready), in_fit=True)
        held_out = None if valid is None else PairDataset(brain, targets, valid, segments)
        self.net_ = self._make_net_for_fit(random, held_out)
        self._check_module()
        load_pretrained_trunk(self)
        self._load_previous_fit(previous)
        pairs = PairDataset(brain, targets, train, segments)
        train_net_with_checkpoint(self.net_, pairs, self._find_checkpoint(X, y, train, valid))
        self.history_, self.interrupted_ = self.net_.history, self.net_.interrupted
        warn_encoder_network_learned_nothing(self, 0 if valid is None else len(valid))
        self._unwrap_net()
        self.net_.drop_training()
        self._drop_adaptations()
        self._add_stimuli_of_previous_fit(previous)
        self._fit_unseen_subjects(brain, targets, train)
        return self

    # --- hooks of RetrievalMixin -------------------------------------------------------------------

    def _make_embedder(self, X):
        brain = self._make_inputs(self._check_X(X))
        return lambda indices: self._embed(brain, indices), len(brain)

    def _make_inputs(self, X, in_fit=False):
        return WindowInputData(X, self._get_subject_index(X, in_fit), choose_device(self.device))

    def _get_subject_index(self, X, in_fit=False):
        index = super()._get_subject_index(X, in_fit)
        if not in_fit and self.unseen_subject == "nearest" and (index < 0).any():
            like = self.nearest_subjects(X)[check_window_subjects(X)[index < 0]]
            index[index < 0] = pd.Index(self.subjects_).get_indexer(like)
        return index

    def _embed_targets(self, targets):
        return self.net_.encode(targets)

    def _device(self):
        return choose_device(self.device)

    def __sklearn_clone__(self):
        """Clone all parameters except ``init``, which stays fitted."""
        copied = copy.copy(self)
        copied.init = None
        new = _clone_parametrized(copied)
        new.init = self.init
        return new

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = not self.spatial_attention  # which needs positions of sensors
        tags.transformer_tags.preserves_dtype = []  # the output is always float32
        tags.target_tags.required = True
        tags.non_deterministic = self.random_state is None
        return tags
