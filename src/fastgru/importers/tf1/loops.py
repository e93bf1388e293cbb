"""Loops over time: the frames of Enter, Merge, Switch and Exit of TensorFlow 1, and While of its second control flow.

Both have variables: what they are before the first step, where a step finds them, and what it makes of them. A step's
nodes are evaluated once, with `Step`s for what is read from the sequences and a `State` for each GRU's h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import graph
from ..sizes import Dim
from .cell import CellStep
from .nodes import Node, Ref
from .values import (
    Below,
    Counter,
    Longest,
    Outputs,
    PastEnd,
    Refused,
    State,
    Step,
    Steps,
    Tensor,
    Unknown,
    Written,
    is_zero,
)

if TYPE_CHECKING:
    from .network import Call, Network, Scope


@dataclass(frozen=True, eq=False)
class Variable:
    """What a loop carries: its value before the first step, the node that is its value in a step, and the new one."""

    name: str
    initial: Any
    inside: str
    output: int
    next: Ref


@dataclass(eq=False)
class Loop:
    """A loop while it is read: the sequences that it walks, the rows' lengths, and the GRU of each state."""

    name: str
    steps: Dim | None = None
    lengths: Tensor | None = None
    mask: str | None = None
    grus: dict[str, Tensor] = field(default_factory=dict)

    def walks(self, steps: Dim) -> None:
        """A sequence of so many steps is read from its first to its last step."""
        if self.steps is None:
            self.steps = steps
        if self.steps != steps:
            raise Refused("reads sequences of different numbers of steps")


# ---- frames ----------------------------------------------------------------------------------------------------------


def needs(network: Network, scope: Scope, node: Node) -> Iterable[Ref]:
    """What must be known before a node's value: for an Exit, what its loop begins with and reads from outside."""
    if node.op != "Exit":
        return node.inputs
    try:
        frame = _frame(scope, node)
    except Refused:  # said again, and written down, when it comes to the node's value
        return ()
    return [enter.inputs[0] for enter in frame.enters if enter.inputs]


@dataclass(frozen=True, eq=False)
class _Frame:
    enters: tuple[Node, ...]
    merges: tuple[Node, ...]
    switches: Mapping[str, Node]  # by the merge that they read
    condition: Ref


def _frame(scope: Scope, exit: Node) -> _Frame:
    """The nodes that make the loop to which an Exit belongs."""
    switch = _reader(scope, exit, "Switch")
    first = _reader(scope, switch, "Merge")
    frame = _reader(scope, first, "Enter").attributes.get("frame_name")
    names = {n.name for n in scope.nodes.values() if n.op == "Enter" and n.attributes.get("frame_name") == frame}
    merges = [n for n in scope.nodes.values() if n.op == "Merge" and n.inputs and n.inputs[0].name in names]
    switches = {n.inputs[0].name: n for n in scope.nodes.values() if n.op == "Switch" and len(n.inputs) == 2}
    if len(switch.inputs) != 2:
        raise Refused("is the end of a loop without a condition")
    condition = _reader(scope, switch, "LoopCond", 1)
    if not condition.inputs:
        raise Refused("is the end of a loop without a condition")
    merges = [merge for merge in merges if merge.name in switches]
    if any(switches[merge.name].inputs[1] != switch.inputs[1] for merge in merges):
        raise Refused("is the end of a loop with several conditions")
    enters = _entrances(scope, [condition.inputs[0], *(ref for merge in merges for ref in merge.inputs)])
    return _Frame(enters, tuple(merges), switches, condition.inputs[0])


def _entrances(scope: Scope, refs: Iterable[Ref]) -> tuple[Node, ...]:
    """The Enters on which values in a loop depend; a training graph's loops have others beside them."""
    found, seen, waiting = [], set(), [ref.name for ref in refs]
    while waiting:
        name = waiting.pop()
        node = scope.nodes.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op == "Enter":
            found.append(node)
        else:
            waiting.extend(ref.name for ref in node.inputs)
    return tuple(found)


def _reader(scope: Scope, node: Node, op: str, index: int = 0) -> Node:
    found = scope.nodes.get(node.inputs[index].name) if index < len(node.inputs) else None
    if found is None or found.op != op:
        raise Refused(f"is the end of a loop, but {node.name!r} does not read a {op}")
    return found


def _exit(network: Network, scope: Scope, node: Node) -> Any:
    """All of a frame's Exits at once; this one's value."""
    if scope.loop is not None:
        raise Refused("is a loop inside a loop")
    frame = _frame(scope, node)
    exits = {n.inputs[0].name: n for n in scope.nodes.values() if n.op == "Exit" and n.inputs}
    variables = []
    for index, merge in enumerate(frame.merges):
        switch = frame.switches[merge.name]
        enter, back = _reader(scope, merge, "Enter"), _reader(scope, merge, "NextIteration", 1)
        if not enter.inputs or not back.inputs:
            raise Refused(f"is the end of a loop, but {merge.name!r} reads nothing")
        initial = _known(scope, enter.inputs[0])
        if isinstance(initial, Unknown):
            return initial
        variables.append(Variable(switch.name, initial, merge.name, index, back.inputs[0]))

    def bind(variable: Variable, value: Any) -> None:
        scope.known[variable.inside] = scope.known[variable.name] = Outputs([value, value])

    name = node.name.rpartition("/")[0] or node.name
    begins = {merge.inputs[0].name for merge in frame.merges}
    for enter in frame.enters:
        if bool(enter.attributes.get("is_constant", False)) == (enter.name in begins):
            raise Refused(f"is the end of a loop, but {enter.name!r} is not the same at each step, or should not be")
        if enter.inputs:
            scope.known.setdefault(enter.name, _known(scope, enter.inputs[0]))
    scope.loop = Loop(name)
    results: dict[int, Any] = {}
    try:
        results = _run(network, scope, scope, variables, frame.condition, bind)
    finally:  # refused for this Exit, the loop is unknown to the others
        scope.loop = None
        ends = [(exits.get(variable.name), variable.output) for variable in variables]
        scope.known.update((end.name, results.get(output, Unknown())) for end, output in ends if end is not None)
    return scope.known.pop(node.name, Unknown())


def _while(network: Network, scope: Scope, node: Node) -> Any:
    """A While of functions: its results, one for each variable."""
    from .network import Scope as NewScope

    if scope.loop is not None:
        raise Refused("is a loop inside a loop")
    functions = network.source.functions
    condition, body = (functions.get(str(node.attributes.get(key))) for key in ("cond", "body"))
    if condition is None or body is None:
        raise Refused("has a body or condition that is not in the file")
    initial = [_known(scope, ref) for ref in node.inputs]
    if any(isinstance(value, Unknown) for value in initial):
        return Unknown()
    if not len(initial) == len(body.arguments) == len(body.results) == len(condition.arguments):
        raise Refused("has a body that does not take and give what the loop carries")
    inside, asked = NewScope(body.nodes), NewScope(condition.nodes)
    inside.loop = asked.loop = Loop(node.name)
    variables = [
        Variable(name, value, name, index, result)
        for index, (name, value, result) in enumerate(zip(body.arguments, initial, body.results, strict=True))
    ]
    carried = []
    for variable in variables:  # what a body hands on as it came is the same at each step
        if origin(inside, variable.next) == variable.name:
            inside.known[variable.name] = variable.initial
            asked.known[condition.arguments[variable.output]] = variable.initial
        else:
            carried.append(variable)

    def bind(variable: Variable, value: Any) -> None:
        inside.known[variable.inside] = value
        asked.known[condition.arguments[variable.output]] = value

    results = _run(network, inside, asked, carried, condition.results[0], bind)
    return Outputs([results.get(variable.output, variable.initial) for variable in variables])


def origin(scope: Scope, ref: Ref) -> str:
    """The node that a value comes from through Identity nodes."""
    node, seen = scope.nodes.get(ref.name), {ref.name}
    while node is not None and node.op == "Identity" and node.inputs and node.inputs[0].name not in seen:
        ref = node.inputs[0]
        seen.add(ref.name)
        node = scope.nodes.get(ref.name)
    return ref.name


# ---- a loop of either kind -------------------------------------------------------------------------------------------


def _run(
    network: Network, inside: Scope, asked: Scope, variables: list[Variable], condition: Ref,
    bind: Callable[[Variable, Any], None],
) -> dict[int, Any]:  # fmt: skip
    """The values after the last step, by the number of the variable."""
    loop = inside.loop
    assert loop is not None
    for variable in variables:
        bind(variable, _at_step(variable))
    _find_lengths(network, inside, loop, variables)
    after = {variable.output: network.evaluate(inside, variable.next) for variable in variables}
    below = network.evaluate(asked, condition)
    if isinstance(below, Unknown) or any(isinstance(value, Unknown) for value in after.values()):
        return {variable.output: Unknown() for variable in variables}
    _check_condition(loop, below)
    results = {}
    for variable in variables:
        try:
            results[variable.output] = _after(network, inside, loop, variable, after[variable.output])
        except Refused as reason:
            node = network.root.nodes.get(variable.next.name) or inside.nodes[variable.next.name]
            results[variable.output] = network.refuse(node, str(reason))
    return results


def _at_step(variable: Variable) -> Any:
    """What a variable is in a step."""
    initial = variable.initial
    if isinstance(initial, Steps):
        return initial
    if isinstance(initial, np.ndarray) and initial.shape == () and initial.dtype.kind in "iu" and not initial:
        return Counter()
    return State(variable.name, initial)


def _find_lengths(network: Network, scope: Scope, loop: Loop, variables: list[Variable]) -> None:
    """The lengths of the rows, where steps past them keep the states: before the GRUs are made, which need the mask."""
    conditions = []
    for variable in variables:
        node = scope.nodes.get(origin(scope, variable.next))
        if isinstance(_at_step(variable), State):
            is_choice = node is not None and node.op == "Select" and len(node.inputs) == 3
            conditions.append(network.evaluate(scope, node.inputs[0]) if is_choice and node is not None else None)
    found = [condition for condition in conditions if isinstance(condition, PastEnd)]
    if found and (len(found) < len(conditions) or any(f.lengths is not found[0].lengths for f in found)):
        raise Refused("is a loop that keeps some states past the end of a row and others not")
    if found:
        loop.lengths = found[0].lengths


def _check_condition(loop: Loop, below: Any) -> None:
    """The loop must run over all steps of its sequences, or as far as the longest row."""
    if not isinstance(below, Below):
        raise Refused("is a loop that does not count the steps of a sequence")
    for bound in below.bounds:
        if isinstance(bound, Longest):
            is_whole = bound.lengths is loop.lengths and bound.bound in (None, loop.steps)
        else:
            is_whole = bound == loop.steps
        if not is_whole:
            raise Refused("is a loop that may end before its sequence does")
    if all(isinstance(bound, Longest) and bound.bound is None for bound in below.bounds):
        raise Refused("is a loop that may go on after its sequence has ended")


def _after(network: Network, scope: Scope, loop: Loop, variable: Variable, value: Any) -> Any:
    """What a variable is behind the loop."""
    start = _at_step(variable)
    if isinstance(start, Counter):
        if not (isinstance(value, Counter) and value.ahead == 1):
            raise Refused("does not count steps one by one")
        return None  # no operation takes it
    if isinstance(start, Steps):
        if not isinstance(value, Written):
            raise Refused("is a TensorArray to which a step does not write once")
        if start.size != loop.steps:
            raise Refused("is a TensorArray of another size than the loop has steps")
        made = network.assembly.computed(value.value)
        if not isinstance(made, Step) or made.index is not None:
            raise Refused("writes what does not depend on the step")
        return Steps(made.sequence)
    gru = loop.grus.get(variable.name)
    if gru is None or not isinstance(value, Step) or value.sequence is not gru:
        raise Refused("is a state that no GRU cell makes")
    return Tensor(network.assembly.builder.spec(f"{gru.spec.name}:state"), ((0,), (1,)))


def gru_step(call: Call, made: CellStep) -> Step:
    """One step of a GRU, by the place of its cell: in a loop, or one after the other."""
    parts = [part for part in call.name.rpartition("/")[0].split("/") if part]
    name = "/".join(parts[parts.index("while") + 1 :] if "while" in parts else parts) or call.name
    if not isinstance(made.h, State):
        return call.assembly.unrolled(made, name)
    loop = call.scope.loop
    if loop is None or made.h.name in loop.grus:
        raise Refused("is one of two GRU cells on one state")
    sequences = [step.sequence for step in map(call.assembly.computed, made.inputs) if isinstance(step, Step)]
    if loop.lengths is not None and loop.mask is None and sequences:
        add = call.assembly.builder.add
        loop.mask = add(graph.StepMask, f"{loop.name}_mask", sequences[0].spec, loop.lengths.spec).name
    loop.grus[made.h.name] = call.assembly.gru(made, name, loop.mask)
    return Step(loop.grus[made.h.name], None)


def choose(call: Call, condition: Any, past: Any, new: Any) -> Any:
    """Select(past the end of a row, …): a state stays as it is, an output is zero."""
    loop = call.scope.loop
    if not isinstance(condition, PastEnd) or loop is None or condition.lengths is not loop.lengths:
        raise Refused("chooses by something other than whether a row has ended")
    if isinstance(past, State):
        if not isinstance(new, Step) or new.sequence is not loop.grus.get(past.name):
            raise Refused("keeps another state than that of its GRU cell")
        return new
    if not is_zero(past) or loop.mask is None:
        raise Refused("fills the steps past the end of a row with something other than zero")
    made = call.assembly.computed(new)
    if isinstance(made, Step) and any(made.sequence is known for known in loop.grus.values()):
        return made  # zero_output_for_mask
    return call.assembly.layer(graph.Where, call.name, made, mask=loop.mask)


def _known(scope: Scope, ref: Ref) -> Any:
    from .network import picked

    return picked(scope.known[ref.name], ref.index)


def _loop_nodes(reason: str) -> Callable[[Network, Scope, Node], Any]:
    def refuse(network: Network, scope: Scope, node: Node) -> Any:
        raise Refused(reason)

    return refuse


#: operations that look at the graph itself
OPERATIONS: dict[str, Callable[[Network, Scope, Node], Any]] = {
    "Exit": _exit,
    "While": _while,
    "StatelessWhile": _while,
    "Merge": _loop_nodes("joins the ways of a condition"),
    "Switch": _loop_nodes("goes one of two ways, by a condition"),
    "NextIteration": _loop_nodes("is part of a loop that is not understood"),
}
