"""A whole network: its layers read, its calls in order of evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import BadModelFile, UnsupportedModel
from ...graph import TensorSpec, tensor_spec
from . import front, layers, masks, outline
from .build import Builder, Value
from .config import LayerConfig, Report, as_written
from .front import Front, Vocabularies
from .masks import Mask
from .outline import Entry, Node, Outline, Ref, refs_of
from .weights import Source, Weights

#: layers that walk a sequence
RECURRENT = frozenset({"GRU", "CuDNNGRU", "RNN", "Bidirectional"})
#: layers to which it is all the same whether time or batch is the first axis
EITHER_MAJOR = frozenset({
    "Embedding", "Masking", "Dense", "Activation", "Dropout", "GaussianNoise", "GaussianDropout", "AlphaDropout",
    "ActivityRegularization", "ReLU", "LeakyReLU", "ELU", "Softmax", "LayerNormalization", "Add", "Multiply",
    "Subtract", "Average", "Maximum", "Minimum",
})  # fmt: skip
#: arguments of a call that say nothing at inference
_TRAINING = frozenset({"training", "name"})
_TRUTH_VALUES = "truth values are supported as masks of layers only"


@dataclass(frozen=True)
class Member:
    """A layer of a network that has been read."""

    entry: Entry
    part: layers.Part

    @property
    def class_name(self) -> str:
        return self.entry.config.class_name

    @property
    def owner(self) -> str:
        return self.entry.config.owner

    def forgets_mask(self, node: Node) -> bool:
        """Keras 3 finds the mask of a layer's only tensor argument: not that of x where initial_state is another."""
        if self.entry.config.report.generation != 3 or "uses_mask" not in self.part.options:
            return False
        arguments = [*node.args, *(value for key, value in node.kwargs.items() if key not in masks.ARGUMENTS)]
        return node.kwargs.get("mask") is None and sum(any(refs_of(value)) for value in arguments) > 1

    @property
    def takes_time_first(self) -> bool:
        """Whether it may read what has time before the batch."""
        return self.class_name in ("GRU", "RNN", "Bidirectional", "Dense", "Dropout") or "perm" in self.part.options

    @property
    def trainable(self) -> int:
        return self.part.trainable

    @property
    def fixed(self) -> int:
        return self.part.fixed


@dataclass(frozen=True)
class Network:
    """A network whose layers have been read.

    Attributes
    ----------
    outline : Outline
    members : dict of str to Member
        The layers by the name that the wiring calls them; without input layers.
    fronts : dict of str to Front
        What text and category layers do before the core, by the input layer's name.
    """

    outline: Outline
    members: dict[str, Member]
    fronts: dict[str, Front] = field(default_factory=dict)

    @property
    def trainable(self) -> int:
        return sum(member.trainable for member in self.members.values())

    @property
    def fixed(self) -> int:
        return sum(member.fixed for member in self.members.values())

    def frozen(self) -> Network:
        """The same where none of its arrays is trainable: Keras then lists them layer by layer."""
        parts = {key: replace(m.part, trainable=0, fixed=m.trainable + m.fixed) for key, m in self.members.items()}
        return replace(self, members={key: replace(m, part=parts[key]) for key, m in self.members.items()})

    @property
    def takes_ids(self) -> tuple[bool, ...]:
        """For each input, whether it is token ids."""
        readers = [
            (ref, takes)
            for member in self.members.values()
            for node in member.entry.nodes
            for ref, takes in _wanted(member.part, node)
        ]
        return tuple(any(takes for ref, takes in readers if ref.layer == end.layer) for _, end in self.outline.inputs)

    def sources(self, weights: Source) -> list[TensorSpec]:
        """The network's inputs, batch sizes free.

        Raises
        ------
        BadModelFile
            A shape is neither written anywhere nor follows from the first layer's weights.
        """
        entries = {entry.config.key: entry for entry in self.outline.entries}
        found = []
        for (key, ref), is_ids in zip(self.outline.inputs, self.takes_ids, strict=True):
            entry = entries[ref.layer]
            name, known = key or entry.config.name, entry.shape
            if entry.config.report.is_turned and known is not None and len(known) + is_ids > 2:
                known = (None, known[0], *known[2:])
            if ref.layer in self.fronts:
                found.append(self.fronts[ref.layer].spec(name))
            else:
                found.append(self._source(name, known, is_ids, weights))
        return found

    def check_time_major(self) -> None:
        """Let networks over (time, batch, features) be those over (batch, time, features), if no layer minds."""
        report = self.outline.entries[0].config.report
        by_transpositions = any("perm" in member.part.options for member in self.members.values())
        if not report.time_major or by_transpositions:  # of which each Value keeps track
            return
        report.is_turned = True
        for member in self.members.values():
            config = member.entry.config
            is_recurrent = member.class_name in RECURRENT
            if is_recurrent and config.name not in report.time_major:
                config.refuse("takes (batch, time, features) where other layers take (time, batch, features)")
            elif not is_recurrent and member.class_name not in EITHER_MAJOR:
                config.refuse("is not supported beside layers with time_major=True")
        report.notes.append("Keras ran it over (time, batch, features); here sequences are (batch, time, features)")

    def _source(self, name: str, known: tuple[int | None, ...] | None, is_ids: bool, weights: Source) -> TensorSpec:
        if is_ids:
            steps = known[1:] if known is not None else (None,)
            if None in steps[1:]:
                raise UnsupportedModel(f"input {name!r}: only the first axis after batch may be free, not {known}")
            return tensor_spec(name, steps[0] if steps else False, steps[1:], "int32")  # type: ignore[arg-type]
        if known is None or (len(known) == 3 and known[2] is None):
            known = self._from_weights(known, weights)
        if known is None or len(known) < 2 or (len(known) == 2 and known[1] is None):
            raise BadModelFile(
                f"the shape of input {name!r} is {known or 'nowhere to be found'}; build the network before saving it"
            )
        if None in known[2:]:
            raise UnsupportedModel(f"input {name!r}: only the first axis after batch may be free, not {known}")
        if len(known) == 2:
            return tensor_spec(name, False, (known[1],))  # type: ignore[arg-type]
        return tensor_spec(name, known[1], known[2:])  # type: ignore[arg-type]

    def _from_weights(self, known: tuple[int | None, ...] | None, weights: Source) -> tuple[int | None, ...] | None:
        """A Sequential network that was never built says by its first kernel what it takes."""
        members = list(self.members.values())
        first = next((member for member in members if member.trainable + member.fixed), None)
        if first is None or first.class_name != "GRU":
            return known
        sizes = weights.shares(members)[members.index(first)].peek()
        return (None, known[1] if known else None, sizes[0]) if sizes else known

    def run(self, build: Builder, weights: Source | Weights, inputs: list[Value]) -> list[Value]:
        """Append every call that an output needs; the outputs.

        Raises
        ------
        UnsupportedModel
            Every reason that shows: calls that read what a refused one would give are left out.
        """
        members = list(self.members.values())
        shares = dict(zip(self.members, weights.shares(members), strict=True))
        if len(inputs) != len(self.outline.inputs):
            wanted = len(self.outline.inputs)
            raise BadModelFile(f"network {self.outline.name!r} takes {wanted} inputs, not {len(inputs)}")
        values: dict[tuple[str, int], tuple[Value, ...]] = {
            (ref.layer, ref.node): (self._started(build, ref.layer, value),)
            for (_, ref), value in zip(self.outline.inputs, inputs, strict=True)
        }
        reasons = self.outline.entries[0].config.report.reasons
        refused: set[tuple[str, int]] = set()
        for key, number in self._order(set(values)):
            member = self.members[key]
            node = member.entry.nodes[number]
            if any((ref.layer, ref.node) in refused for ref in node.refs):
                refused.add((key, number))
                continue
            count = len(reasons)
            try:
                with build.called(member.entry.config.name):
                    result = _call(member, build, shares[key].again(), node, values)
                values[key, number] = result if isinstance(result, tuple) else (result,)
            except UnsupportedModel as error:
                reasons += [reason for reason in error.reasons if reason not in reasons]
            if len(reasons) > count:
                refused.add((key, number))
        if refused:
            raise UnsupportedModel(reasons)
        called = {key for key, _ in values}
        for key, share in shares.items():
            if key in called:
                share.finish()
        results = [value for _, ref in self.outline.outputs for value in _outputs(ref, values)]
        if any(isinstance(value, Mask) for value in results):
            raise UnsupportedModel(f"an output of network {self.outline.name!r}: {_TRUTH_VALUES}")
        for (_, ref), value in zip(self.outline.outputs, results, strict=False):
            if value.time_first:
                raise UnsupportedModel(f"layer {ref.layer!r}: an output (time, batch, features) is not supported")
        return results

    def _started(self, build: Builder, key: str, value: Value) -> Value:
        return self.fronts[key].start(build, value) if key in self.fronts else value

    def _order(self, known: set[tuple[str, int]]) -> list[tuple[str, int]]:
        """The calls that outputs need, each behind those that it reads."""
        order: list[tuple[str, int]] = []
        done = set(known)
        stack = [(ref.layer, ref.node) for _, ref in reversed(self.outline.outputs)]
        open_calls: set[tuple[str, int]] = set()
        while stack:
            call = stack[-1]
            if call in done:
                stack.pop()
                continue
            if call[0] not in self.members:
                raise BadModelFile(f"the architecture reads {call[0]!r}, an input layer that is none of its inputs")
            needed = [(ref.layer, ref.node) for ref in self.members[call[0]].entry.nodes[call[1]].refs]
            missing = [read for read in needed if read not in done]
            if not missing:
                done.add(stack.pop())
                order.append(call)
                continue
            if call in open_calls:
                raise BadModelFile(f"the architecture goes in a circle at layer {call[0]!r}")
            open_calls.add(call)
            stack += reversed(missing)
        return order


def read_network(
    document: Any, report: Report, weights: Source | None = None, vocabularies: Vocabularies | None = None
) -> Network | None:
    """Read a network's layers; None where some are refused, and the report then says why.

    A network in another one has no `weights` and no `vocabularies` of its own.
    """
    found = outline.parse(document, report)
    members: dict[str, Member] = {}
    count = len(report.reasons)
    fronts = front.read(found, weights, vocabularies)
    encoders = [entry for entry in found.entries if front.is_one(entry.config)]
    encoded = {ref.layer for entry in encoders for node in entry.nodes for ref in node.refs}
    for entry in found.entries:
        if entry.is_input:
            _check_input(entry.config, entry.config.key in encoded)
            continue
        part = layers.Part(_passed_on) if front.is_one(entry.config) else layers.read(entry.config)
        if part is not None:
            members[entry.config.key] = Member(entry, part)
            _check_calls(entry, part)
    _check_ids(members, fronts)
    return Network(found, members, fronts) if len(report.reasons) == count else None


def _passed_on(build: Builder, weights: Weights, x: Value) -> Value:
    """A text or category layer, whose work has been done before the core."""
    return x


def _check_input(config: LayerConfig, is_encoded: bool) -> None:
    if config.take("dtype", None) == "string" and not is_encoded:
        config.refuse("takes strings, and no layer that fastgru reads turns them into numbers")
    for key in ("sparse", "ragged", "optional"):
        config.only(key, False, None, why="a dense array is expected")
    # what reads the input says what it takes
    config.finish({"dtype", "input_dtype"}, any_dtype=True)


def _check_calls(entry: Entry, part: layers.Part) -> None:
    """Refuse arguments of calls that the layer's reader does not take."""
    for node in entry.nodes:
        for key, value in node.kwargs.items():
            if key == "training" and value not in (None, False, 0):
                entry.config.refuse("is called with training=True")
            elif key not in (*part.options, *masks.ARGUMENTS) and key not in _TRAINING and value is not None:
                entry.config.refuse(f"is called with {key}=, which is not supported")


def _check_ids(members: dict[str, Member], fronts: dict[str, Front]) -> None:
    """Refuse what reads the ids of a text layer as numbers; operations may make masks of them."""
    ids = {one.call for one in fronts.values() if one.gives_ids}
    for member in members.values():
        config = member.entry.config
        wanted = [pair for node in member.entry.nodes for pair in _wanted(member.part, node)]
        if not layers.is_operation(config) and any((ref.layer, ref.node) in ids and not takes for ref, takes in wanted):
            config.refuse("reads the ids of a text layer as numbers; only an Embedding may read them")


def _wanted(part: layers.Part, node: Node) -> list[tuple[Ref, bool]]:
    """What a call reads, each with whether it must be token ids; so are an input's truth values."""
    given = [key for key in node.kwargs if key in masks.ARGUMENTS]
    refs = list(refs_of([*node.args, *(value for key, value in node.kwargs.items() if key not in given)]))
    takes = part.takes_ids if isinstance(part.takes_ids, tuple) else (part.takes_ids,) * len(refs)
    truths = [(ref, True) for ref in refs_of([node.kwargs[key] for key in given])]
    return [*zip(refs, takes, strict=False), *truths]


def _call(
    member: Member, build: Builder, weights: Weights, node: Node, values: dict[tuple[str, int], tuple[Value, ...]]
) -> layers.table.Result:
    args = [_bound(value, values, build) for value in node.args]
    if any(ref.tensor == -1 and len(values[ref.layer, ref.node]) > 1 for ref in node.refs):
        why = "follows a layer with return_state=True; only the last layer of a Sequential network may have that"
        raise UnsupportedModel(f"{member.owner}: {why}")
    taken = (*member.part.options, *masks.ARGUMENTS)
    kwargs = {key: _bound(value, values, build) for key, value in node.kwargs.items() if key in taken}
    if member.forgets_mask(node):
        kwargs["uses_mask"] = False
    args, kwargs = masks.apply(build, args, kwargs)
    turned = [value for value in (*args, *kwargs.values()) if isinstance(value, Value) and value.time_first]
    if turned and not member.takes_time_first:
        raise UnsupportedModel(f"{member.owner}: reads (time, batch, features), which only time_major layers do")
    try:
        with as_written(member.entry.config, "call"):
            return member.part.call(build, weights, *args, **{k: v for k, v in kwargs.items() if v is not None})
    except BadModelFile as error:
        if any(isinstance(value, Mask) for value in args):
            raise UnsupportedModel(f"{member.owner}: {_TRUTH_VALUES}") from error
        if member.entry.config.report.reasons:  # refused, and what was read on the way did not fit then
            raise UnsupportedModel(member.entry.config.report.reasons) from error
        raise


def _bound(value: Any, values: dict[tuple[str, int], tuple[Value, ...]], build: Builder) -> Any:
    """An argument with values in the place of Refs."""
    if isinstance(value, Ref):
        found = [build.as_features(v) if isinstance(v, Value) else v for v in _outputs(value, values)]
        return found[0] if len(found) == 1 else found
    if isinstance(value, list):
        return [_bound(item, values, build) for item in value]
    if isinstance(value, dict):
        return {key: _bound(item, values, build) for key, item in value.items()}
    return value


def _outputs(ref: Ref, values: dict[tuple[str, int], tuple[Value, ...]]) -> tuple[Value, ...]:
    found = values[ref.layer, ref.node]
    if ref.tensor == -1:  # all of them: the end of a Sequential network
        return found
    if ref.tensor >= len(found):
        raise BadModelFile(f"the architecture reads output {ref.tensor} of layer {ref.layer!r}, which has {len(found)}")
    return (found[ref.tensor],)
