"""State of training in a file, from which a fit continues."""

from __future__ import annotations

import json
import os
from functools import partial
from inspect import signature
from pathlib import Path
from types import BuiltinFunctionType

import numpy as np
import safetensors
import torch
from safetensors.torch import save_file
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    GradientNormClipping,
    LoadInitState,
    LRScheduler,
    ParamMapper,
)
from skorch.history import History

from sk_b2s.nn._net import log_net_message
from sk_b2s.nn._validation import ValidationEarlyStop

KEY = "training"  # tensor of the JSON text, because the history can exceed the header of a file
PLAIN = (bool, int, float, str, type(None))
SKIPPED = ("first_iteration_", "first_batch_")  # the table of epochs has a header in each process
TRAINING = (
    LRScheduler,
    GradientNormClipping,
    EarlyStopping,
    ParamMapper,
    LoadInitState,
)  # change the weights
DTYPES = {str(dtype): dtype for dtype in (torch.float32, torch.bfloat16)}


class TrainingCheckpoint(Callback):
    """Store the state of training after each epoch, and restore it.

    The file has the weights, the state of the optimizer and of the average of
    the weights, the best weights, the states of all random generators, the
    history, and the numbers and learning rate schedulers of callbacks. It is a
    safetensors file, which replaces the former one when it is complete.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path):
        self.path = path
        self.tensors, self.content = _read_training_checkpoint(path) if path.exists() else ({}, None)

    @property
    def n_epochs(self):
        """Number of epochs in the file."""
        return 0 if self.content is None else len(self.content["history"])

    @property
    def is_finished(self):
        """Whether training in the file ended."""
        return self.content is not None and self.content["is_finished"]

    def on_train_begin(self, net, **kwargs):
        """Restore the state, after other callbacks have begun."""
        if self.content is not None:
            self.restore(net)

    def on_epoch_end(self, net, **kwargs):
        """Store the state."""
        self.write(net, is_finished=False)

    def on_train_end(self, net, **kwargs):
        """Store the final weights, unless training was interrupted."""
        if not net.interrupted:
            self.write(net, is_finished=True)

    def write(self, net, is_finished):
        """Write the file."""
        tensors = {f"weights/{name}": value for name, value in net.state().items()}
        content = {"is_finished": is_finished, "history": net.history.to_list()}
        if not is_finished:
            more, state = _collect_training_state(net)
            tensors, content = tensors | more, content | state
        unfinished = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        text = json.dumps(content, default=_convert_checkpoint_number).encode()
        tensors[KEY] = torch.from_numpy(np.frombuffer(text, np.uint8).copy())
        try:
            copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
            save_file(copies, unfinished)
            os.replace(unfinished, self.path)
        except (OSError, safetensors.SafetensorError) as error:
            raise OSError(
                f"The checkpoint {str(self.path)!r} cannot be written after epoch {len(net.history)}: {error} Is the disk "
                f"full? Then fit again, which continues after the last complete checkpoint, or set checkpoint=None."
            ) from error
        finally:
            unfinished.unlink(missing_ok=True)

    def restore(self, net):
        """Set the state of a net that was made with the same parameters."""
        try:
            net.load_state(self._part("weights/", net.state()))
            net.history = History(self.content["history"])
            if not self.is_finished:
                _restore_training_state(net, self._part, self.content)
        except (KeyError, TypeError, IndexError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"The checkpoint {str(self.path)!r} does not fit this encoder: {error!r}. Delete the file to train from "
                f"the beginning."
            ) from error
        self.tensors = {}

    def _part(self, prefix, like=None):
        """Return tensors by the rest of their names, with known shapes."""
        part = {
            name.removeprefix(prefix): value
            for name, value in self.tensors.items()
            if name.startswith(prefix)
        }
        if like is not None and {n: (v.shape, v.dtype) for n, v in part.items()} != {
            n: (v.shape, v.dtype) for n, v in like.items()
        }:
            raise ValueError(f"other {prefix.removesuffix('/')}")
        return part


def train_net_with_checkpoint(net, pairs, path=None):
    """Train a net, from the state in a file if there is one.

    Parameters
    ----------
    net : RetrievalNet
        Initialized.
    pairs : PairDataset
        Training data.
    path : Path or None
        File of the state. None does not store any.
    """
    if path is None:
        net.partial_fit(pairs, None)  # fit would draw the weights again
        return
    checkpoint = TrainingCheckpoint(path)
    if checkpoint.is_finished:
        net.interrupted = net.stopped = False
        checkpoint.restore(net)
        return
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(
            f"checkpoint={str(path.parent)!r} is a folder in which files cannot be written."
        )
    if net.verbose and checkpoint.n_epochs:
        log_net_message(f"Continue after epoch {checkpoint.n_epochs} of {path}.")
    callbacks = list(net.callbacks_)
    net.callbacks_.append(("training_checkpoint", checkpoint))
    try:
        net.partial_fit(pairs, None, epochs=net.max_epochs - checkpoint.n_epochs)
    finally:
        net.callbacks_ = callbacks


def _read_training_checkpoint(path):
    """Return the tensors and the content of a file."""
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is a folder or device, and checkpoint needs this name. Remove it.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        return tensors, json.loads(tensors.pop(KEY).numpy().tobytes())
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} is not a checkpoint of training, or it is damaged: {error!r}. Delete the file to train from "
            f"the beginning."
        ) from error


def _convert_checkpoint_number(value):
    """Convert a number of numpy or torch to one of Python."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(
        f"A callback recorded {type(value).__name__} in the history, and checkpoint can only store numbers and strings."
    )


def _collect_training_state(net):
    """Return what training needs in addition to weights and history."""
    tensors, content = {}, {"callbacks": {}, "schedulers": {}}
    optimizer = net.optimizer_.state_dict()
    content["groups"] = optimizer["param_groups"]
    for index, state in optimizer["state"].items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in state.items()}
    if net.average is not None:
        tensors |= {f"average/{i}": value for i, value in enumerate(net.average.other)}
        content["average"] = [net.average.n_steps, net.average.is_swapped]
    kind, keys, *rest = net.shuffle.get_state()
    tensors["shuffle"] = torch.from_numpy(keys.astype(np.int64))
    content["shuffle"] = [kind, *rest]
    tensors["generator"] = net.module_.generator.get_state()
    content["precision"] = [str(net.guard.dtype), sorted(net.guard._passed)]
    for name, callback in net.callbacks_:
        content["callbacks"][name] = _select_history_numbers(vars(callback))
        if (scheduler := getattr(callback, "lr_scheduler_", None)) is not None:
            content["schedulers"][name] = _keep_plain_parameters(scheduler.state_dict())
        if isinstance(callback, ValidationEarlyStop) and callback.best_state_ is not None:
            tensors |= {f"best/{key}": value for key, value in callback.best_state_.items()}
    return tensors, content


def _select_history_numbers(state):
    """Return the plain attributes that training sets on a callback."""
    return {
        key: value
        for key, value in state.items()
        if key.endswith("_") and not key.startswith("_") and key not in SKIPPED and isinstance(value, PLAIN)
    }


def _keep_plain_parameters(state):
    """Return the entries of a state that JSON can represent."""
    plain = {}
    for name, value in state.items():
        try:
            plain[name] = json.loads(json.dumps(value, default=_convert_checkpoint_number))
        except TypeError:
            continue  # a function, which the new scheduler has as well
    return plain


def _restore_training_state(net, part, content):
    """Set what :func:`_collect_training_state` returned."""
    states = {}
    for name, value in part("optimizer/").items():
        index, key = name.split("/")
        states.setdefault(int(index), {})[key] = value
    net.optimizer_.load_state_dict({"state": states, "param_groups": content["groups"]})
    if net.average is not None:
        device = next(iter(net.state().values())).device
        other = part("average/")
        net.average.other = [other[str(i)].to(device) for i in range(len(other))]
        net.average.n_steps, net.average.is_swapped = content["average"]
    kind, *rest = content["shuffle"]
    net.shuffle.set_state((kind, part("shuffle")[""].numpy().astype(np.uint32), *rest))
    net.module_.generator.set_state(part("generator")[""])
    dtype, passed = content["precision"]
    net.guard.dtype, net.guard._passed = DTYPES[dtype], set(passed)
    for name, callback in net.callbacks_:
        vars(callback).update(_select_history_numbers(content["callbacks"].get(name, {})))
        if name in content["schedulers"]:
            callback.lr_scheduler_.load_state_dict(content["schedulers"][name])
        if isinstance(callback, ValidationEarlyStop) and (best := part("best/")):
            weights = net.state()
            callback.best_state_ = {key: value.to(weights[key].device) for key, value in best.items()}


def list_training_callbacks(callbacks):
    """List callbacks that may change the weights, for a key.

    Callbacks of skorch that only record or print are left out, and so are own
    ones with the attribute ``changes_training = False``.

    Parameters
    ----------
    callbacks : list of Callback or (str, Callback), or None

    Returns
    -------
    described : list of [type, dict]
        Class and parameters.

    Raises
    ------
    ValueError
        If a parameter cannot be compared between processes.
    """
    described = []
    for one in callbacks or ():
        one = one[1] if isinstance(one, tuple) else one
        one = one() if isinstance(one, type) else one  # as skorch does
        is_own = type(one).__module__.partition(".")[0] not in ("skorch", "sk_b2s")
        if not (isinstance(one, TRAINING) or is_own) or not getattr(one, "changes_training", True):
            continue
        params = {name: getattr(one, name, None) for name in signature(type(one)).parameters}
        if isinstance(one, TRAINING):  # LRScheduler passes its other arguments on
            params |= {name: value for name, value in vars(one).items() if name.strip("_") == name}
        for name, value in params.items():
            if not _is_plain_parameter(value):
                raise ValueError(
                    f"checkpoint cannot compare the parameter {name!r} of the callback {type(one).__name__} between "
                    f"processes. Got {type(value).__name__}. Use numbers, strings, functions or arrays. If the callback does "
                    f"not change training, set its attribute changes_training to False."
                )
        described.append([type(one), params])
    return described


def _is_plain_parameter(value):
    """Return whether a parameter has an equal digest in all processes."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain_parameter, value))
    if isinstance(value, dict):
        return all(map(_is_plain_parameter, [*value, *value.values()]))
    if isinstance(value, partial):
        return _is_plain_parameter([value.func, value.args, value.keywords])
    return isinstance(
        value, (*PLAIN, type, np.ndarray, np.generic, torch.Tensor, BuiltinFunctionType)
    ) or hasattr(value, "__code__")


def make_training_checkpoint_path(folder, key):
    """Return the file of a fit in a folder, which is created."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"checkpoint must be a folder. {str(folder)!r} is a file.") from error
    except OSError as error:
        raise OSError(f"The folder checkpoint={str(folder)!r} cannot be made: {error}") from error
    return folder / f"{key}.safetensors"
