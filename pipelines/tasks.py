"""What a compiled graph will do, read from its specification: each box that will run, and what it needs.

The only reader of specifications: what is planned, shown, costed and watched are these tasks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Makers = dict[str, tuple[str, ...]]  # an output, or an input -> the paths of the boxes that make it


@dataclass(frozen=True)
class Task:
    """One box that will run.

    `values` are the parameters it is given, as far as they are known before the run. `needs` are the paths of the boxes
    whose outputs it takes. `facts` are its values, below them those of the graphs around it, and below these the facts
    of the boxes that it needs, the first before the others: the protocol of a division is that of all that follows.
    """

    path: str  # in the workflow
    title: str  # as the dashboard nests it: "as printed / arms / simple_gan / train classifier"
    box: str  # the name of its component
    values: Json
    needs: tuple[str, ...]
    graphs: tuple[str, ...]  # paths of the graphs around it, outermost first; each turn of a loop is one
    in_loop: bool
    facts: Json


def expanded(spec: Json, arguments: Json) -> list[Task]:
    """The boxes of a run, each after those it waits for.

    Args:
        spec: a pipeline's specification.
        arguments: of the run; a loop over anything else has no turns that are known.
    """
    reader = _Reader(spec["components"])
    root = _Scope(path="root", given={**_defaults(spec["root"]), **arguments}, graphs=("root",))
    reader.dag(spec["root"]["dag"], root)
    return list(reader.tasks.values())


def spec_of(graph: Any) -> Json:
    """The specification of a graph that is in memory, as its compiled file has it."""
    from google.protobuf import json_format  # type: ignore[import-untyped]

    return dict(json_format.MessageToDict(graph.pipeline_spec))


@dataclass(frozen=True)
class _Scope:
    """What is known within one graph: its inputs, and who makes them."""

    path: str
    title: str = ""
    given: Json = field(default_factory=dict)
    makers: Makers = field(default_factory=dict)
    graphs: tuple[str, ...] = ()
    around: Json = field(default_factory=dict)  # values of the graphs around
    in_loop: bool = False


class _Reader:
    def __init__(self, components: Json) -> None:
        self.components = components
        self.tasks: dict[str, Task] = {}

    def dag(self, dag: Json, scope: _Scope) -> Makers:
        """Reads the tasks of one graph. Returns who makes its outputs."""
        made: dict[str, Makers] = {}
        for key in _order(dag["tasks"]):
            task = dag["tasks"][key]
            component = self.components[task["componentRef"]["name"]]
            inputs = {**task.get("inputs", {}).get("parameters", {}), **task.get("inputs", {}).get("artifacts", {})}
            makers = {name: _makers(where, scope.makers, made) for name, where in inputs.items()}
            found = {name: value_of(where, scope.given) for name, where in inputs.items()}
            given = {**_defaults(component), **{name: one for name, one in found.items() if one is not None}}
            below = _Scope(
                f"{scope.path}.{key}",
                scope.title + (task.get("taskInfo", {}).get("name") or key),
                given,
                makers,
                scope.graphs,
                {**scope.around, **given},
                scope.in_loop,
            )
            if "dag" not in component:
                self._leaf(task["componentRef"]["name"], below)
                made[key] = {"": (below.path,)}
            else:
                turns = [self.dag(component["dag"], turn) for turn in _turns(task.get("parameterIterator"), below)]
                made[key] = {name: _joined(turn.get(name, ()) for turn in turns) for turn in turns for name in turn}
        outputs = dag.get("outputs", {})
        named = {**outputs.get("artifacts", {}), **outputs.get("parameters", {})}
        return {name: _joined(_made(made, one) for one in _selectors(where)) for name, where in named.items()}

    def _leaf(self, component: str, scope: _Scope) -> None:
        needs = _joined(scope.makers.values())
        inherited = [self.tasks[path].facts for path in reversed(needs)]
        facts = {name: value for one in (*inherited, scope.around) for name, value in one.items()}
        box = component.removeprefix("comp-").rstrip("-0123456789").replace("-", "_")
        self.tasks[scope.path] = Task(
            scope.path, scope.title, box, scope.given, needs, scope.graphs, scope.in_loop, facts
        )


def _turns(loop: Json | None, scope: _Scope) -> Iterator[_Scope]:
    """The insides of a graph: one, or one for each item of a loop."""
    graphs = (*scope.graphs, scope.path)
    if loop is None:
        yield _Scope(scope.path, f"{scope.title} / ", scope.given, scope.makers, graphs, scope.around, scope.in_loop)
        return
    items = loop["items"]
    found = json.loads(items["raw"]) if "raw" in items else scope.given.get(items.get("inputParameter", ""))
    for turn, item in enumerate(found if isinstance(found, list) else []):
        path = f"{scope.path}.iteration-iterations({turn}:{turn}).iteration-item"
        own = {loop["itemInput"]: item} if "itemInput" in loop else {}
        title = f"{scope.title} / {item} / "
        given, around = {**scope.given, **own}, {**scope.around, **own}
        yield _Scope(path, title, given, scope.makers, (*graphs, path), around, True)


def _order(tasks: Json) -> list[str]:
    """Each task after those it waits for."""
    ordered: list[str] = []
    while left := [key for key in tasks if key not in ordered]:
        free = [key for key in left if all(need in ordered for need in tasks[key].get("dependentTasks", []))]
        ordered += free or left
    return ordered


def _defaults(component: Json) -> Json:
    parameters = component.get("inputDefinitions", {}).get("parameters", {})
    return {name: one["defaultValue"] for name, one in parameters.items() if "defaultValue" in one}


def value_of(where: Json, given: Json) -> Any:
    """What an input of a task in a package is, where those of its graph are given; None for what nobody knows yet."""
    if "componentInputParameter" in where:
        return given.get(where["componentInputParameter"])
    return where.get("runtimeValue", {}).get("constant")


def _makers(where: Json, inputs: Makers, made: dict[str, Makers]) -> tuple[str, ...]:
    """Who makes an input of a task."""
    for kind in ("componentInputArtifact", "componentInputParameter"):
        if kind in where:
            return inputs.get(where[kind], ())
    output = where.get("taskOutputArtifact") or where.get("taskOutputParameter") or {}
    key = output.get("outputArtifactKey") or output.get("outputParameterKey")
    return _made(made, {"producerSubtask": output.get("producerTask", ""), "outputArtifactKey": key})


def _made(made: dict[str, Makers], output: Json) -> tuple[str, ...]:
    """Who makes an output of a task of the same graph: that task itself, or boxes within it."""
    makers = made.get(output["producerSubtask"], {})
    key = output.get("outputArtifactKey") or output.get("outputParameterKey") or ""
    return makers.get(key, makers.get("", ()))


def _selectors(where: Json) -> list[Json]:
    """The outputs of tasks that an output of their graph is taken from."""
    one = where.get("valueFromParameter")
    several = where.get("artifactSelectors") or where.get("valueFromOneof", {}).get("parameterSelectors", [])
    return [one] if one else several


def _joined(several: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for makers in several for one in makers))
