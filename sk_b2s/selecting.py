"""Differentiable selection of rows or columns with a deterministic gradient."""

from torch import Tensor

__all__ = ["select"]


def select(source: Tensor, index: Tensor, dim: int = 0) -> Tensor:
    """Select entries along an axis, with a gradient that equal inputs repeat to the bit.

    The gradient of a selection adds up what belongs to each entry. ``source[index]`` adds by atomic operations of
    several threads on a CPU, in an order that differs from run to run, and sorts first on a GPU. ``index_select`` is
    the opposite: it adds in order on a CPU, and by atomic operations on a GPU. So each device gets the form that is
    deterministic there, as the documentation of ``torch.use_deterministic_algorithms`` lists them, and no global flag
    has to be set.

    Parameters
    ----------
    source : Tensor
    index : Tensor of int64, shape (n,)
        From 0 up.
    dim : int
        The axis.

    Returns
    -------
    selected : Tensor
        Like ``source``, with ``n`` entries along the axis.

    Examples
    --------
    >>> import torch
    >>> select(torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([2, 0, 2]), dim=1)
    tensor([[3, 1, 3],
            [6, 4, 6]])
    """
    if source.device.type == "cpu":
        return source.index_select(dim, index)
    return source[(slice(None),) * dim + (index,)]
