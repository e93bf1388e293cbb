"""The network behind a generation: token ids in, logits out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .. import passes
from .._openmp import core
from ..errors import UnsupportedModel
from ..graph import LINEAR, Embedding, Graph, TensorSpec
from ..obstacles import streaming_obstacles
from ..states import find_states, last_states
from ..streaming import carried_natively
from .heads import Head

if TYPE_CHECKING:
    from ..model import Model

#: activations behind which a network's numbers are logits, up to a constant, or probabilities
_SCORES = ("linear", "log_softmax", "softmax")
#: of each Model that has generated, so that its weights are packed once
_known: WeakKeyDictionary[Model, Network] = WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that reads token ids and gives logits.

    Attributes
    ----------
    plan : Plan
        Its only output is the logits; its inputs without time are states, which begin at zero.
    spec : TensorSpec
        Of the tokens; `name` as the network's front end knows it.
    tokens : int
        How many it chooses among.
    streams : bool
        Whether its state goes on from token to token. Else it reads a sequence whole.
    probabilities : bool
        What it gives are probabilities: its softmax could not be cut off.
    masks_zero : bool
        The token 0 is masked: reading it changes nothing.
    """

    plan: Any
    spec: TensorSpec
    tokens: int
    streams: bool
    probabilities: bool
    masks_zero: bool

    @property
    def steps(self) -> int | None:
        """The only number of tokens that it can read at once, if that is fixed."""
        return self.spec.shape[1]

    @classmethod
    def of(cls, model: Model) -> Network:
        """Of a Model.

        Raises
        ------
        UnsupportedModel
            It cannot read what it gives; all reasons.
        """
        if model not in _known:
            _known[model] = _network(model)
        return _known[model]


def _network(model: Model) -> Network:
    graph = _with_states(model.graph)
    sources, targets = {source for source, _ in graph.states}, {target for _, target in graph.states}
    named = zip(graph.input_names, graph.inputs, strict=True)
    given = [dataclasses.replace(spec, name=name) for name, spec in named if name not in sources]
    outputs = [pair for pair in zip(graph.output_names, graph.outputs, strict=True) if pair[0] not in targets]
    left_out = last_states(graph)
    made = [value for name, value in outputs if name not in left_out] or [value for _, value in outputs]
    reasons = [*_input_faults(given), *_output_faults(graph, made)]
    if not reasons and graph.states and not carried_natively(graph):
        reasons = [f"input {source!r} is no initial state of its GRUs" for source, _ in graph.states]
    if reasons:
        raise UnsupportedModel(reasons)
    (tokens,) = graph.specs[made[0]].inner
    cut = dataclasses.replace(graph, outputs=(made[0],), text=None, output_ports=(), input_ports=(), states=())
    is_one_hot = given[0].dtype == "float32"
    if is_one_hot and given[0].inner != (tokens,):
        raise UnsupportedModel(
            f"the network reads vectors of {given[0].inner[0]} numbers, which are not one-hot vectors of the {tokens} "
            "tokens that it chooses among"
        )
    reads = passes.tokens_for_one_hot(cut) if is_one_hot else cut
    if reads is None:
        raise UnsupportedModel(f"the network gives its input {given[0].name!r} back, so it cannot read token ids")
    head = Head.of(reads, 0)
    if head.functions.isdisjoint(_SCORES):
        shown = " and ".join(sorted(head.functions))
        raise UnsupportedModel(f"output {made[0]!r} ends in {shown}; generation needs logits or softmax")
    graph = head.ending_in(LINEAR) if head.has_softmax else reads
    spec = next(spec for spec in graph.inputs if spec.is_sequence)
    network = Network(
        plan=model._plan if graph is model.graph else core.Plan(graph, model.isa, model.matmul == "blas"),
        spec=dataclasses.replace(spec, name=given[0].name),
        tokens=tokens,
        streams=False,
        probabilities=head.holds_probabilities and not head.has_softmax,
        masks_zero=any(isinstance(x, Embedding) and x.mask_zero and x.inputs[0] == spec.name for x in graph.layers),
    )
    plan = network.plan
    streams = plan.causal and not plan.changes_steps and not streaming_obstacles(graph)
    return dataclasses.replace(network, streams=streams)


def _with_states(graph: Graph) -> Graph:
    """The Graph with the states that are its inputs and outputs, whether or not its source says that they are."""
    if graph.states:
        return graph
    found = dataclasses.replace(graph, states=find_states(graph)[0])
    return found if found.states and carried_natively(found) else graph


def _input_faults(given: list[TensorSpec]) -> list[str]:
    shown = ", ".join(f"{spec.name!r} {spec.dtype} {spec.shape}" for spec in given)
    takes = "generation takes one sequence of token ids (batch, time), or of one-hot vectors (batch, time, tokens)"
    fits = len(given) == 1 and given[0].is_sequence and len(given[0].inner) == (given[0].dtype == "float32")
    return [] if fits else [f"the network reads {shown}; {takes}"]


def _output_faults(graph: Graph, made: list[str]) -> list[str]:
    specs = [graph.specs[value] for value in made]
    shown = ", ".join(f"{spec.name!r} {spec.dtype} {spec.shape}" for spec in specs)
    needs = "generation needs one output (batch, tokens) or (batch, time, tokens)"
    fits = len(specs) == 1 and specs[0].dtype == "float32" and len(specs[0].inner) == 1
    return [] if fits else [f"the network gives {shown}; {needs}"]
