"""Brain encoder of the paper as an estimator."""

from __future__ import annotations

import warnings
from numbers import Integral, Real

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from sk_b2s._utils._devices import choose_device, choose_precision
from sk_b2s._utils._precision import Precision
from sk_b2s._utils._validation import check_in_step, table_of
from sk_b2s.decoding._adaptation import AdaptationMixin
from sk_b2s.decoding._base import RetrievalMixin
from sk_b2s.decoding._encoder_checks import check_parameters, warn_no_learning
from sk_b2s.decoding._encoder_state import EncoderStateMixin
from sk_b2s.decoding._stimulus_artifacts import warn_audio_channels
from sk_b2s.decoding._unseen_subjects import UnseenSubjectMixin
from sk_b2s.model_selection._split import stimulus_train_test
from sk_b2s.nn._brain_module import ACTIVATIONS, BrainModule
from sk_b2s.nn._channel_mixing import SUBJECT_LAYERS
from sk_b2s.nn._data import PairDataset, WindowInputs
from sk_b2s.nn._losses import LOSSES
from sk_b2s.nn._net import RetrievalNet, log_message
from sk_b2s.nn._prefetch import keep_on_device
from sk_b2s.nn._speech_module import SpeechModule
from sk_b2s.nn._validation import EarlyStop, one_split, validate_on
from sk_b2s.nn.functional import DUPLICATES
from sk_b2s.preprocessing._windows import subjects_of


class BrainEncoder(
    EncoderStateMixin, AdaptationMixin, UnseenSubjectMixin, RetrievalMixin, TransformerMixin, BaseEstimator
):
    """Estimate the representation of heard speech from EEG or MEG by a contrastive network.

    The convolutional encoder of Défossez et al. [1]_: spatial attention over the sensors, a layer of
    each subject's own, dilated convolutions. It is trained so that the estimate of a window is more
    similar to the speech that was heard than to the other speech of the batch. Unlike
    :class:`~sk_b2s.RidgeDecoder` it is not linear, and learns from all subjects together.

    Parameters
    ----------
    speech : estimator or None, default=None
        Turns the table of what was heard into features, such as
        ``make_pipeline(MelSpectrogram(), FeatureScaler())``; fitted on the training rows alone. Its
        parameters are searched as ``speech__...``. None if ``y`` is numbers or Windows already.
    hidden : int, default=320
        Width of the convolutions.
    depth : int, default=10
        Number of convolutions, dilated by 1, 2, 4, 8, 16, 1, ...; ten see 1.1 s at 120 Hz.
    kernel_size : int, default=3
        Steps of a convolution; odd.
    n_virtual_channels : int, default=270
        Channels after spatial attention.
    spatial_attention : bool, default=True
        Mix sensors by their position. It needs positions; without them, or to learn a weight for
        each channel by its place in the array, set False.
    spatial_dropout : float, default=0.2
        Sensors within this distance (of a layout of side 1) of a random point are not attended to in
        a training step.
    initial_linear : bool, default=True
        A linear map before the subject layer.
    subject_layer : {"layer", "embedding"} or None, default="layer"
        A matrix for each subject, or a vector, which needs fewer minutes of each, or nothing.
    subject_dropout : float, default=0.0
        Share of the windows of a training step whose subject is taken for a stranger's, so that the network learns to
        make do with the mean of the layers; for decoders that are to meet new people. Not in the paper.
    glu : bool, default=True
        Gated convolutions after every second one.
    skip : bool, default=True
        Residual connections.
    head : bool, default=True
        Two final convolutions of width one instead of one linear map.
    activation : {"gelu", "relu"}, default="gelu"
        Between layers.
    speech_embedding_dim : int or None, default=None
        Number of outputs of a convolutional network on the speech features, trained jointly with
        that of the brain, which then estimates its output: the paper's Deep Mel, with 768 on a
        MelSpectrogram. It has the same ``hidden``, ``depth``, ``kernel_size``, ``glu``, ``skip`` and
        ``activation``. None compares with the features themselves.
    loss : {"clip", "symmetric_clip", "siglip", "mse"}, default="clip"
        Contrast with the other windows of the batch: the paper's; CLIP's own, on cosines in both
        directions with a learned temperature; SigLIP's yes or no for each pair. Or regression. The
        formulas are in :mod:`sk_b2s.nn.functional`. After training on cosines all estimates have
        the length at which their similarities are the loss's logits.
    duplicates : {"keep", "mask", "positive"}, default="keep"
        What a window's segment is where others in the batch heard it too: a wrong answer, as in the
        paper, left out, or a right answer. Set it where several people heard the same.
    lr : float, default=3e-4
        Rate of Adam. Lower it if a fit diverges.
    batch_size : int, default=256
        Largest batch; the windows of a batch are each other's contrast, so smaller ones make an
        easier task. n rows make ceil(n / batch_size) batches of equal size, give or take one.
    max_epochs : int, default=200
        Passes over the data at most.
    patience : int, default=10
        Epochs without a better validation loss after which training stops; the best state is
        restored. This is the cross-entropy of all held-out windows over their distinct segments, at
        the temperature that suits it best. The paper watches the training loss itself, on batches:
        it rises while estimates grow too long, though they may still rank better.
    validation : float, splitter or None, default=0.1
        Share of the windows held out to watch, whole blocks of sound with a gap, so that no
        stimulus is on both sides. Or a splitter that yields one split of X and y, training rows and
        rows to watch; rows in neither are left out. None trains for ``max_epochs``.
    k : int, default=10
        ``score`` is top-k accuracy.
    unseen_subject : {"average", "nearest", "error"}, default="average"
        What is done for a subject who was not in training: use the mean of the subject layers; or the layer of the
        known subject whose recordings look most alike (:func:`~sk_b2s.preprocessing._covariance_alignment.riemannian_distance` of their
        covariances, without labels), which sees all of the recordings that X is cut from; or raise.
        :meth:`adapt` does better with minutes of what they heard.
    device : str, default="auto"
        "cpu", "cuda", ...; "auto" takes the GPU where there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the forward pass; weights and losses stay float32. "auto" takes bfloat16 where the chip
        multiplies it natively. Eight windows of the first batch that is trained on, estimated or encoded
        are also computed in float32. If one product or its gradient differs by more than 2 %, estimates by
        20 % of their deviation from the mean or all gradients by 70 %, the network runs in float32 from there
        on, with a warning. The comparison itself changes no result.
    callbacks : list of skorch callbacks or None, default=None
        Called during training, after the package's own. Validation is scored in one piece and not batch by
        batch, so an ``EpochScoring`` of your own needs ``use_caching=False``.
    random_state : None, int or RandomState, default=None
        Initial weights, batch order, dropout and the validation split. On a CPU equal seeds give
        weights that are equal to the bit, whatever else runs on the machine. This needs an equal number of threads
        (``torch.get_num_threads()``), processor and version of torch. On a GPU the order of sums is not fixed.
    verbose : int, default=1
        1 prints a line for each epoch: losses and the validation top-k.

    Attributes
    ----------
    net_ : RetrievalNet
        The fitted skorch net; ``net_.module_`` is the torch module.
    history_ : skorch.history.History
        Losses and validation accuracy of each epoch; ``valid_cross_entropy`` is ``valid_loss`` without
        a temperature.
    interrupted_ : bool
        Whether Ctrl-C ended the training; the best state until then is kept.
    subjects_ : ndarray of shape (n_subjects,)
        Subjects of the training rows, sorted; who was only held out to watch is unknown.
    segments_ : DataFrame, Windows or ndarray
        The distinct segments of ``fit``, the default candidates.
    speech_ : estimator or None
        The fitted ``speech``.
    shared_response_ : SharedResponse or None
        What people have in common when they hear a sound, for :meth:`adapt`; with ``subject_layer="layer"``.
    covariances_ : ndarray of shape (n_subjects, n_virtual_channels, n_virtual_channels)
        Of what subjects' layers read; with ``unseen_subject="nearest"``.
    frame_weights_ : ndarray of shape (n_frames,)
        Steps of the brain in each frame.
    recording_intervals_ : StimulusIntervals or None
        Parts of recordings in ``fit``, for the warning of ``predict`` without candidates.
    stimulus_intervals_ : StimulusIntervals or None
        Sound of ``fit``, for the warning when it is scored.
    n_features_in_, n_features_out_, n_times_in_ : int
        Channels, features of an estimate, and steps of a window.
    n_speech_features_ : int
        Features of ``y``; ``n_features_out_`` is another number with ``speech_embedding_dim``.

    Raises
    ------
    ValueError
        If X and y do not fit together, positions are missing, or there is but one segment.
    FloatingPointError
        If the loss becomes NaN or infinite.

    Warns
    -----
    ConvergenceWarning
        If training learned nothing, by its validation or else its training loss, or was interrupted.
    UserWarning
        If a parameter has no effect with another one, recordings or channels are constant, or bfloat16 is wrong on
        this machine and float32 is used instead.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive brain recordings.
       Nature Machine Intelligence 5:1097. https://doi.org/10.1038/s42256-023-00714-5

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> speech = rng.standard_normal((64, 4, 30)).astype("f4")
    >>> brain = np.repeat(speech, 2, axis=1) + 0.1 * rng.standard_normal((64, 8, 30)).astype("f4")
    >>> encoder = BrainEncoder(hidden=16, depth=2, n_virtual_channels=8, spatial_attention=False,
    ...                        max_epochs=8, lr=3e-3, validation=None, random_state=0, verbose=0)
    >>> encoder.fit(brain[:48], speech[:48]).score(brain[48:], speech[48:]) > 0.9  # chance is 10 of 16
    True
    """

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
        "glu": ["boolean"],
        "skip": ["boolean"],
        "head": ["boolean"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "speech_embedding_dim": [Interval(Integral, 1, None, closed="left"), None],
        "loss": [StrOptions(set(LOSSES))],
        "duplicates": [StrOptions(set(DUPLICATES))],
        "lr": [Interval(Real, 0, None, closed="neither")],
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
        glu=True,
        skip=True,
        head=True,
        activation="gelu",
        speech_embedding_dim=None,
        loss="clip",
        duplicates="keep",
        lr=3e-4,
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
        self.glu = glu
        self.skip = skip
        self.head = head
        self.activation = activation
        self.speech_embedding_dim = speech_embedding_dim
        self.loss = loss
        self.duplicates = duplicates
        self.lr = lr
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

    # --- fitting -----------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Train the network.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            What the brain did. Windows carry subjects and positions; a plain array is one unnamed
            subject without positions.
        y : DataFrame, Windows or array-like of shape (n_windows[, n_features[, n_frames]])
            What was heard: the table of segments for ``speech``, else features.

        Returns
        -------
        self : BrainEncoder
        """
        check_parameters(self)
        X = self._check_X(X, reset=True)
        y = self._check_y(y)
        check_in_step(X, y)
        if self.unseen_subject == "nearest":
            self._check_apart(X)
        random = check_random_state(self.random_state)
        segments = self._fit_segments(y).target
        train, valid = self._split(X, y, segments, random)
        self._fit_stimulus_intervals(y, train if valid is None else np.concatenate([train, valid]))
        self._fit_recording_intervals(X)
        targets = self._fit_speech(y, train)
        warn_audio_channels(X, y, targets)
        self._fit_shapes(X, y, targets, train)
        targets, X = keep_on_device(choose_device(self.device), targets, X)
        brain = self._as_brain(X, in_fit=True)
        held_out = None if valid is None else PairDataset(brain, targets, valid, segments)
        self.net_ = self._make_net(random, held_out)
        self.net_.partial_fit(
            PairDataset(brain, targets, train, segments), None
        )  # fit would draw the weights again
        self.history_, self.interrupted_ = self.net_.history, self.net_.interrupted
        warn_no_learning(self, 0 if valid is None else len(valid))
        self._forget_training()
        self._forget_adaptations()
        self._fit_unseen_subjects(brain, targets, train)
        return self

    def _check_X(self, X, reset=False):
        """Validate windows and, for spatial attention, that their sensors have positions."""
        X = self._check_windows(X, reset, any_channels=self.spatial_attention)
        if self.spatial_attention and X.positions is None:
            raise ValueError(
                "spatial_attention=True needs the sensors' positions, and X has none: set Epocher(montage=...), "
                "wrap an array by Windows.from_array(X, positions=...), or set spatial_attention=False."
            )
        return X

    def _split(self, X, y, segments, random):
        """Rows to train on and rows to watch."""
        if self.validation is None:
            return np.arange(len(y)), None
        if hasattr(self.validation, "split"):
            train, valid = one_split(self.validation, X, y)
            without = train  # what a splitter holds out is not learned from in any case
        else:
            without = np.arange(len(y))
            table = table_of(y)
            groups = None if table is not None and "block" in table else segments
            train, valid = stimulus_train_test(y, self.validation, random_state=random, groups=groups)
        if len(np.unique(segments[valid])) < 2:
            warnings.warn(
                f"validation={self.validation} would hold out {len(valid)} windows of a single segment, which nothing "
                f"can be told from, so the fit runs for max_epochs={self.max_epochs} without validation. Raise "
                f"validation, give more sound, or set validation=None.",
                stacklevel=4,
            )
            return without, None
        return train, valid

    def _fit_shapes(self, X, y, targets, train):
        """Note all that the module is built from."""
        frames = self._fit_frames(X, y, targets)
        self.n_features_out_ = self.speech_embedding_dim or self.n_speech_features_
        self.subjects_ = np.unique(subjects_of(X)[train])  # nobody else's layer would be learned
        self.architecture_ = {
            "n_channels": X.shape[1],
            "n_outputs": self.n_features_out_,
            "n_subjects": len(self.subjects_),
            "n_times": self.n_times_in_,
            "pooling": None if np.array_equal(frames, np.arange(targets.shape[2])) else frames.tolist(),
            "n_frames": targets.shape[2],
            **{name: getattr(self, name) for name in ARCHITECTURE},
        }
        self.speech_architecture_ = (
            None
            if self.speech_embedding_dim is None
            else {
                "n_features": self.n_speech_features_,
                "n_outputs": self.speech_embedding_dim,
                **{name: getattr(self, name) for name in SPEECH_ARCHITECTURE},
            }
        )

    def _make_net(self, random, held_out=None, kind=RetrievalNet, hears=True, **changes):
        """Build a skorch net with fresh weights drawn from ``random``.

        Without ``hears`` there is none on the speech features; ``changes`` are to its arguments.
        """
        speech = self.speech_architecture_ if hears else None
        device = choose_device(self.device)
        callbacks = [] if held_out is None else [("early_stopping", EarlyStop(self.patience))]
        seed, dropout_seed = (int(s) for s in random.randint(np.iinfo(np.int32).max, size=2))
        arguments = {
            **{f"module__{name}": value for name, value in self.architecture_.items()},
            "speech_module": None if speech is None else SpeechModule,
            **{f"speech_module__{name}": value for name, value in (speech or {}).items()},
            "criterion__weights": torch.as_tensor(self.frame_weights_, dtype=torch.float32),
            "criterion__duplicates": self.duplicates,
            "optimizer": torch.optim.Adam,
            "optimizer__fused": True,
            "lr": self.lr,
            "max_epochs": self.max_epochs,
            "batch_size": self.batch_size,
            "train_split": validate_on(held_out),
            "shuffle": np.random.RandomState(random.randint(np.iinfo(np.int32).max)),
            "callbacks": callbacks + list(self.callbacks or []),
            **({"callbacks__print_log__sink": log_message} if self.verbose else {"callbacks__print_log": None}),
            "precision": Precision(choose_precision(self.precision, device), type(self).__name__),
            "k": self.k,
            "device": str(device),
            "verbose": self.verbose,
        }  # fmt: skip
        net = kind(BrainModule, LOSSES[self.loss].module, **{**arguments, **changes})
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            net.initialize()
        net.module_.draw_from(torch.Generator().manual_seed(dropout_seed))
        return net

    def _forget_training(self):
        self.net_.drop_training()
        self.net_.module_.draw_from(None)

    # --- what RetrievalMixin asks for --------------------------------------------------------------

    def _brain(self, X):
        brain = self._as_brain(self._check_X(X))
        return lambda indices: self._embed(brain, indices), len(brain)

    def _as_brain(self, X, in_fit=False):
        return WindowInputs(X, self._get_subject_index(X, in_fit), choose_device(self.device))

    def _get_subject_index(self, X, in_fit=False):
        index = super()._get_subject_index(X, in_fit)
        if not in_fit and self.unseen_subject == "nearest" and (index < 0).any():
            like = self.nearest_subjects(X)[subjects_of(X)[index < 0]]
            index[index < 0] = pd.Index(self.subjects_).get_indexer(like)
        return index

    def _as_compared(self, targets):
        return self.net_.encode(targets)

    def _device(self):
        return choose_device(self.device)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []  # float32 comes out whatever went in
        tags.target_tags.required = True
        tags.non_deterministic = self.random_state is None
        return tags


# Parameters of BrainEncoder that are those of its module.
ARCHITECTURE = (
    "hidden", "depth", "kernel_size", "n_virtual_channels", "spatial_attention", "spatial_dropout", "initial_linear",
    "subject_layer", "subject_dropout", "glu", "skip", "head", "activation",
)  # fmt: skip
SPEECH_ARCHITECTURE = ("hidden", "depth", "kernel_size", "glu", "skip", "activation")
