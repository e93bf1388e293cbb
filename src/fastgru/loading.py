"""The ways to get a Model: from a file, a live network of a framework, arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import narrowing, passes
from ._openmp import core
from .errors import BadInput
from .graph import Graph
from .model import Model

if TYPE_CHECKING:
    from .importers.onnx import GRUNode

#: from so many bytes of weights on, what loading them has left in the C library's hands goes back to the system
_LARGE = 1 << 20


def _held(graph: Graph, dtype: str | None, keep_float32: str | Iterable[str]) -> Graph:
    """What an importer has read, with its weights in a dtype: nobody holds them otherwise when they are packed."""
    return narrowing.held_in(passes.apply(graph), dtype, keep_float32)


def _model(graph: Graph, threads: int | None, matmul: str) -> Model:
    model = Model(graph, threads=threads, matmul=matmul)
    if sum(weights.nbytes for _, weights in graph.tensors) >= _LARGE:
        core.release_pages()
    return model



def load(
    path: str | os.PathLike[str],
    *,
    config: Any = None,
    dtype: str | None = None,
    keep_float32: str | Iterable[str] = (),
    threads: int | None = None,
    matmul: str = "auto",
    **options: Any,
) -> Model:
    """Load a trained network from a file, recognised by its content.

    Parameters
    ----------
    path : path
        Keras' ``.h5``, ``.hdf5``, ``.keras``, ``.weights.h5``; ``.onnx``; PyTorch's ``.pt``, ``.pth`` and
        ``.safetensors``; ``.npz``; TensorFlow 1's checkpoints (prefix, ``.index`` or folder) and frozen graphs ``.pb``;
        fastgru's own ``.safetensors``.
    config : path or dict, optional
        The architecture of a file that holds weights only: Keras' ``to_json``, or the description of a file of arrays
        (PyTorch's ``.pt``, ``.pth``, ``.safetensors``; ``.npz``), which docs/formats.md explains.
    dtype, keep_float32, threads, matmul
        See `Model`.
    **options
        Belong to the importer of the file's kind: ``keras_version``, ``custom_layers`` (Keras); ``node``, ``axes``,
        ``assume_torch_gru`` (ONNX); ``inputs``, ``outputs`` (TensorFlow 1). docs/formats.md explains them.

    Returns
    -------
    Model

    Raises
    ------
    FileNotFoundError
    BadModelFile
        The file is damaged, or not what it claims to be.
    UnsupportedModel
        It holds what fastgru does not run, or weights that `dtype` cannot express; all reasons at once.
    BadInput
        An option that is wrong or not this importer's.
    MissingExtra
        The package that reads this kind of file is not installed.

    Examples
    --------
    >>> import fastgru
    >>> fastgru.load(fastgru.demo_path()).inputs[0].axes
    ('batch', 'time')
    """
    from . import importers

    graph = _held(importers.read(path, config=config, **options), dtype, keep_float32)
    return _model(graph, threads, matmul)


def from_keras(
    model: Any,
    *,
    dtype: str | None = None,
    keep_float32: str | Iterable[str] = (),
    threads: int | None = None,
    matmul: str = "auto",
    custom_layers: Mapping[str, Any] | None = None,
) -> Model:
    """Take over a live Keras model (Keras 3 or tf_keras) without writing a file.

    Parameters
    ----------
    model : keras.Sequential or a functional keras.Model
        Built; its weights are copied.
    dtype, keep_float32, threads, matmul
        See `Model`.
    custom_layers : dict of str to reader, optional
        Readers of classes of your own, as in `load`; see docs/adding.md.

    Returns
    -------
    Model

    Raises
    ------
    UnsupportedModel, BadModelFile, BadInput
    """
    from .importers import keras

    graph = _held(keras.from_keras(model, custom_layers), dtype, keep_float32)
    return _model(graph, threads, matmul)


def from_onnx(
    model: Any,
    *,
    dtype: str | None = None,
    keep_float32: str | Iterable[str] = (),
    threads: int | None = None,
    matmul: str = "auto",
    **options: Any,
) -> Model:
    """Take over an ONNX model in memory.

    Parameters
    ----------
    model : onnx.ModelProto
        With all its tensors inside.
    dtype, keep_float32, threads, matmul
        See `Model`.
    **options
        Those of `load` for ONNX files: ``node``, ``assume_torch_gru``, ``axes``.

    Returns
    -------
    Model

    Raises
    ------
    UnsupportedModel, BadModelFile, BadInput, MissingExtra
    """
    from .importers import ONNX, onnx

    foreign = sorted(set(options) - set(ONNX.options))
    if foreign:
        raise BadInput(f"an ONNX model has no option {', '.join(foreign)}; its options: {', '.join(ONNX.options)}")
    graph = _held(onnx.from_onnx(model, **options), dtype, keep_float32)
    return _model(graph, threads, matmul)


def onnx_gru_nodes(path: str | os.PathLike[str]) -> tuple[GRUNode, ...]:
    """Every GRU node of an ONNX file, whatever else is in it; ``load(path, node=name)`` gives one as a network.

    Parameters
    ----------
    path : path

    Returns
    -------
    tuple of GRUNode
        Records of its ``name``, ``input_size``, ``hidden_size``, ``direction``, ``linear_before_reset``, ``layout``,
        ``steps`` and ``batch`` (None where free), and what that network has as ``inputs`` and ``outputs``. In the
        file's order; those inside loops and functions too.

    Raises
    ------
    FileNotFoundError, BadModelFile, MissingExtra
    """
    from .importers import onnx

    return onnx.gru_nodes(path)


def from_torch(
    module: Any,
    *,
    inputs: Mapping[str, Any] | None = None,
    initial_state: bool | None = None,
    dtype: str | None = None,
    keep_float32: str | Iterable[str] = (),
    threads: int | None = None,
    matmul: str = "auto",
) -> Model:
    """Take over a live PyTorch module: nn.GRU, nn.GRUCell, or a module that torch.fx can trace.

    It computes what the module does in eval mode, in float32, and takes its inputs and gives its outputs as the module
    lays them out: nn.GRU with ``batch_first=False`` (time, batch, features), states (layers · directions, batch,
    units). `lengths=` in a call (always one per row) does what a PackedSequence does: outputs past a row's length are
    zero, final states are those of its last step, the reverse direction begins there.

    Parameters
    ----------
    module : torch.nn.Module
        Its weights are copied.
    inputs : dict of str to tuple, optional
        Axes of inputs of forward that the layers which read them leave open: ``{"x": ("batch", "time", 40)}``, words
        for the free axes and sizes for the others.
    initial_state : bool, optional
        Whether arguments of forward whose default is None (``hx`` of nn.GRU) become inputs; otherwise they are left
        out. Default: False, and True for nn.GRUCell.
    dtype, keep_float32, threads, matmul
        See `Model`.

    Returns
    -------
    Model

    Raises
    ------
    UnsupportedModel
        What torch.fx cannot trace, and every operation that fastgru does not have, by name.
    BadInput
        An input whose axes are not known: say `inputs`.
    MissingExtra
        torch is not installed.
    """
    from .importers import torch

    graph = _held(torch.from_torch(module, inputs, initial_state), dtype, keep_float32)
    return _model(graph, threads, matmul)


def gru_network(
    arrays: Mapping[str, Any],
    layers: Any = None,
    *,
    ignore: Any = (),
    dtype: str | None = None,
    keep_float32: str | Iterable[str] = (),
    threads: int | None = None,
    matmul: str = "auto",
    **options: Any,
) -> Model:
    """Build a network from weights that you keep in arrays.

    Parameters
    ----------
    arrays : mapping of str to array
        A dict, a PyTorch state dict, what numpy.load gives for an ``.npz``. GRU weights have PyTorch's names
        (``rnn.weight_ih_l0``, ``enc_w_ih``), Keras' (``gru/kernel``, ``gru/recurrent_kernel``) or ONNX's (``W``).
    layers : list of dict, dict or path, optional
        The description: entries in the order of evaluation, each naming its arrays by the beginning of their names. The
        same is `config=` of `load`; docs/formats.md lists the entries and their options. Default: the one GRU that
        the arrays hold.
    ignore : str or list of str
        Names, or patterns such as ``"decoder.*"``, of arrays that the network does not use.
    dtype, keep_float32, threads, matmul
        See `Model`.
    **options
        Without `layers`: those of the GRU, such as ``batch_first=True``.

    Returns
    -------
    Model

    Raises
    ------
    BadInput
        Arrays that are missing, misshapen or taken by nobody, options that are missing or wrong; all of them.

    Examples
    --------
    >>> import fastgru, numpy as np
    >>> arrays = {"w_ih": np.ones((12, 2)), "w_hh": np.zeros((12, 4)), "fc_w": np.ones((3, 4)), "fc_b": np.zeros(3)}
    >>> model = fastgru.gru_network(arrays, [{"gru": "", "return_sequences": False}, {"linear": "fc"}])
    >>> model(np.ones((5, 7, 2), np.float32)).shape
    (5, 3)
    """
    from .importers import arrays as source

    graph = _held(source.from_arrays(arrays, layers, ignore, options), dtype, keep_float32)
    return _model(graph, threads, matmul)


def demo_path() -> Path:
    """Path of the small trained network that ships with fastgru."""
    return Path(__file__).parent / "data" / "demo.safetensors"
