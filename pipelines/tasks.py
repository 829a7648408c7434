"""Reads from a compiled graph's specification which boxes will run, and which boxes each depends on.

This is the only reader of specifications: the plan, the cost, and the progress display all use its tasks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Makers = dict[str, tuple[str, ...]]  # name of an output or input -> the paths of the boxes that produce it


@dataclass(frozen=True)
class Task:
    """One box that will run.

    Attributes:
        values: its parameters, as far as they are known before the run.
        needs: paths of the boxes whose outputs it takes.
        facts: its values and, for names that it lacks, those of the enclosing graphs, then those of the boxes it
            depends on, the first of them first. So every box after a division has the division's protocol.
    """

    path: str  # in the workflow
    title: str  # as the dashboard nests it: "as printed / arms / simple_gan / train classifier"
    box: str  # the name of its component
    values: Json
    needs: tuple[str, ...]
    graphs: tuple[str, ...]  # paths of the enclosing graphs, outermost first; each iteration of a loop is a graph
    in_loop: bool
    facts: Json


def expanded(spec: Json, arguments: Json) -> list[Task]:
    """The boxes of a run, each after the boxes it waits for.

    Args:
        spec: a pipeline's specification.
        arguments: the run's. A loop over a value that is computed during the run yields no boxes.
    """
    reader = _Reader(spec["components"])
    root = _Scope(path="root", given={**_defaults(spec["root"]), **arguments}, graphs=("root",))
    reader.dag(spec["root"]["dag"], root)
    return list(reader.tasks.values())


def spec_of(graph: Any) -> Json:
    """The specification of a graph in memory, in the form of the compiled file."""
    from google.protobuf import json_format  # type: ignore[import-untyped]

    return dict(json_format.MessageToDict(graph.pipeline_spec))


@dataclass(frozen=True)
class _Scope:
    """What is known within one graph: its inputs, and the boxes that produce them."""

    path: str
    title: str = ""
    given: Json = field(default_factory=dict)
    makers: Makers = field(default_factory=dict)
    graphs: tuple[str, ...] = ()
    around: Json = field(default_factory=dict)  # parameters of the enclosing graphs
    in_loop: bool = False


class _Reader:
    def __init__(self, components: Json) -> None:
        self.components = components
        self.tasks: dict[str, Task] = {}

    def dag(self, dag: Json, scope: _Scope) -> Makers:
        """Reads the tasks of one graph. Returns the boxes that produce its outputs."""
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
    """The scope inside a graph; for a loop, one scope per item."""
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
    """The tasks of a graph, each after those it waits for."""
    ordered: list[str] = []
    while left := [key for key in tasks if key not in ordered]:
        free = [key for key in left if all(need in ordered for need in tasks[key].get("dependentTasks", []))]
        ordered += free or left
    return ordered


def _defaults(component: Json) -> Json:
    parameters = component.get("inputDefinitions", {}).get("parameters", {})
    return {name: one["defaultValue"] for name, one in parameters.items() if "defaultValue" in one}


def value_of(where: Json, given: Json) -> Any:
    """The value of a task's input, given the inputs of its graph; None where it is computed during the run."""
    if "componentInputParameter" in where:
        return given.get(where["componentInputParameter"])
    return where.get("runtimeValue", {}).get("constant")


def _makers(where: Json, inputs: Makers, made: dict[str, Makers]) -> tuple[str, ...]:
    """The boxes that produce an input of a task."""
    for kind in ("componentInputArtifact", "componentInputParameter"):
        if kind in where:
            return inputs.get(where[kind], ())
    output = where.get("taskOutputArtifact") or where.get("taskOutputParameter") or {}
    key = output.get("outputArtifactKey") or output.get("outputParameterKey")
    return _made(made, {"producerSubtask": output.get("producerTask", ""), "outputArtifactKey": key})


def _made(made: dict[str, Makers], output: Json) -> tuple[str, ...]:
    """The boxes that produce an output of a task: the task itself, or boxes within it."""
    makers = made.get(output["producerSubtask"], {})
    key = output.get("outputArtifactKey") or output.get("outputParameterKey") or ""
    return makers.get(key, makers.get("", ()))


def _selectors(where: Json) -> list[Json]:
    """The task outputs from which an output of the graph is taken."""
    one = where.get("valueFromParameter")
    several = where.get("artifactSelectors") or where.get("valueFromOneof", {}).get("parameterSelectors", [])
    return [one] if one else several


def _joined(several: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for makers in several for one in makers))
