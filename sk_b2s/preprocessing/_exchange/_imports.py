"""Trials of the mTRF-Toolbox, CNSP, eelbrain and naplib as Windows."""

from __future__ import annotations


class ImportTrialsMixin:
    """Class methods of Windows that read the trials of other programs."""

    @classmethod
    def from_mtrf(cls, path, stimuli=None, *, features=None, names=("resp", "stim", "fs"), **options):
        """Read the trials of the mTRF-Toolbox or of CNSP from ``.mat`` files.

        Parameters
        ----------
        path : path-like
            File with trials of the mTRF-Toolbox [1]_: variables ``resp``,
            ``stim`` (each a matrix of times and columns, or a cell array with
            one per trial) and ``fs``. Or a file of one subject in the format
            of the CNSP workshop, such as ``dataSub1.mat``, with a structure
            ``eeg``.
        stimuli : path-like, default=None
            File with the stimuli of CNSP, such as ``dataStim.mat``. For the
            mTRF-Toolbox, a second file, if the variables are in two.
        features : str or sequence of str, default=None
            Names of CNSP stimulus features (``stim.names``), which are
            concatenated in this order. If None, all.
        names : (str, str, str), default=("resp", "stim", "fs")
            Names of the variables with responses, stimuli and sampling rate in
            Hz of the mTRF-Toolbox.
        **options
            Parameters of :meth:`from_trials`, such as ``seconds`` and
            ``subject``. ``sfreq`` replaces the rate of a file.

        Returns
        -------
        X : Windows
        y : DataFrame
            As returned by :meth:`from_trials`.

        Raises
        ------
        ValueError
            If a variable is missing. The message lists those of the file.
        ImportError
            If a file of MATLAB version 7.3 is read without h5py.

        Notes
        -----
        Trials of CNSP are cut to the shorter one of response and stimulus.
        Names of electrodes are read from ``chanlocs`` and can be combined with
        ``montage``. With one file per subject, name each with ``subject=``,
        fit a model to each, and join them with :func:`~sk_b2s.average_trfs`.

        References
        ----------
        .. [1] Crosse, Di Liberto, Bednar, Lalor (2016). The multivariate
           temporal response function (mTRF) toolbox. Frontiers in Human
           Neuroscience 10:604. https://doi.org/10.3389/fnhum.2016.00604

        Examples
        --------
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from scipy.io import savemat
        >>> from sk_b2s import Windows
        >>> data = {"resp": np.zeros((640, 2)), "stim": np.ones((640, 1))}
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "trials.mat"
        ...     savemat(path, {**data, "fs": 64})
        ...     X, y = Windows.from_mtrf(path)
        >>> X
        Windows(2 windows x 2 channels x 320 times, 64 Hz, 1 signal)
        """
        from sk_b2s.preprocessing._exchange._mtrf import read_mtrf_trials

        trials = read_mtrf_trials(path, stimuli, features, names, options.get("sfreq"))
        return cls.from_trials(**{**trials, **options})

    @classmethod
    def from_eelbrain(cls, responses, predictors, **options):
        """Convert responses and predictors of eelbrain.

        Parameters
        ----------
        responses : NDVar or list of NDVar
            Responses with the dimensions time and sensor, with a case
            dimension or a list with one per trial.
        predictors : NDVar or list of NDVar, or list of lists of NDVar
            Predictors with the dimension time and optionally another one. If
            ``responses`` is one NDVar, one or several as in
            ``eelbrain.boosting``. Otherwise, one or several for each trial.
        **options
            Parameters of :meth:`from_trials`.

        Returns
        -------
        X : Windows
        y : DataFrame
            As returned by :meth:`from_trials`. Features of several predictors
            are concatenated. Trials are cut to the times that responses and
            predictors share.

        Raises
        ------
        ValueError
            If dimensions are missing, or rates or trials do not match.
        """
        from sk_b2s.preprocessing._exchange._eelbrain import convert_eelbrain_trials

        return cls.from_trials(**{**convert_eelbrain_trials(responses, predictors), **options})

    @classmethod
    def from_naplib(cls, data, response="resp", stimulus="aud", sfreq="dataf", **options):
        """Convert the trials of a ``naplib.Data``.

        Parameters
        ----------
        data : naplib.Data or list of dict
            One entry per trial.
        response : str, default="resp"
            Field of the response, of shape (n_times, n_channels).
        stimulus : str or sequence of str, default="aud"
            Field of the stimulus features, of shape (n_times, n_features) or
            (n_times,). Several are concatenated.
        sfreq : str or float, default="dataf"
            Sampling rate in Hz of both, or the field that has it.
        **options
            Parameters of :meth:`from_trials`.

        Returns
        -------
        X : Windows
        y : DataFrame
            As returned by :meth:`from_trials`.

        Raises
        ------
        ValueError
            If a field is missing, or rates of trials differ.

        Examples
        --------
        >>> import numpy as np
        >>> from sk_b2s import Windows
        >>> trial = {"resp": np.zeros((1000, 3)), "aud": np.ones((1000, 8))}
        >>> X, y = Windows.from_naplib([trial, trial], sfreq=100)
        >>> X
        Windows(4 windows x 3 channels x 500 times, 100 Hz, 2 signals)
        """
        from sk_b2s.preprocessing._exchange._naplib import convert_naplib_trials

        return cls.from_trials(**{**convert_naplib_trials(data, response, stimulus, sfreq), **options})
