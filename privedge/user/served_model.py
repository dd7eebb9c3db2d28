"""A model to serve that is no RAN, and its file: the graph is public, the parameters are secret.

The file is a checkpoint (checkpoint.py): safetensors, mode 0600, with the graph, what may leave and
the owner's name as JSON. Reading one runs no code from it.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from privedge import private_file
from privedge.config import StrPath
from privedge.errors import CheckpointError
from privedge.graph.spec import ModelSpec, outputs_of
from privedge.ran.model_inputs import inputs_of
from privedge.sharing.fixed_point import encode
from privedge.user import checkpoint, clear_model, onnx_graph
from privedge.user.checkpoint import Parameters, Ran
from privedge.user.sealed import Lock

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Model:
    """One owner's model to serve.

    Attributes:
        spec: the graph, and what may leave of its answers. Public.
        owner: the name in the owner's certificate.
        parameters: float32 arrays, with the names and shapes of `spec.parameters()`. Secret.
        facts: notes, for people to read.

    Example:
        model = Model.from_onnx("net.onnx", owner="clinic", name="triage")
        model.save("triage.model")
        model.save_graph("triage.json")
    """

    spec: ModelSpec
    owner: str
    parameters: Parameters = field(repr=False)
    facts: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def from_onnx(
        source: StrPath | bytes,
        *,
        owner: str,
        name: str,
        outputs: str = "label",
        labels: tuple[str, ...] = (),
    ) -> "Model":
        """Read an ONNX file, of a closed list of operations. No code from it is run.

        Args:
            source: the file, or its bytes.
            owner: the name in the owner's certificate.
            name: of the model: small letters, digits and hyphens.
            outputs: what may leave of an answer: "label", "scores" or "rounded:BITS".
            labels: what the scores are called, in order.

        Returns:
            The model.

        Raises:
            CheckpointError: the file cannot be read, or has an operation that is not on the list.
            RangeError: a parameter does not fit the fixed-point ring.
            MissingExtra: the package onnx is missing.
        """
        raw = source if isinstance(source, bytes) else onnx_graph.read(Path(source))
        graph = onnx_graph.layers_of(raw)
        spec = ModelSpec.from_json(
            json.dumps(
                {
                    "kind": "model",
                    "name": name,
                    "input": graph.input,
                    "layers": graph.layers,
                    "outputs": outputs_of(outputs).model_dump(),
                    "labels": labels,
                }
            )
        )
        checkpoint.check_parameters(spec, graph.parameters, where=name)
        for parameter, value in graph.parameters.items():
            encode(value, what=f"{name}: {parameter}")
        return Model(spec, owner, graph.parameters)

    @staticmethod
    def from_torch(
        module: "torch.nn.Module",
        input_shape: tuple[int, ...],
        *,
        owner: str,
        name: str,
        outputs: str = "label",
        labels: tuple[str, ...] = (),
    ) -> "Model":
        """Trace a module of torch with zeros, and read the trace as `from_onnx` does.

        Args:
            module: as it is after training. It is traced in evaluation mode.
            input_shape: of one sample: (features,), (channels, length) or (channels, height,
                width).
            owner, name, outputs, labels: as for `from_onnx`.

        Returns:
            The model.

        Raises:
            CheckpointError: the module cannot be traced, or does what is not on the list.
            And what `from_onnx` raises.
        """
        from privedge.user.torch_graph import traced

        raw = traced(module, input_shape)
        return Model.from_onnx(raw, owner=owner, name=name, outputs=outputs, labels=labels)

    def largest(self, inputs: object) -> tuple[float, ...]:
        """Compute in the clear how large the values become: the parties compute with |x| < 2^15.

        Args:
            inputs: as for `Client.predict`; those that the model is for.

        Returns:
            For each layer the largest absolute value.

        Raises:
            ImageError: `inputs` cannot be used.
        """
        x, rows = inputs_of(inputs, self.spec), self.spec.most_rows
        found = [
            [np.abs(each).max() for each in clear_model.values(self.spec, self.parameters, part)]
            for part in (x[at : at + rows] for at in range(0, len(x), rows))
        ]
        return tuple(float(most) for most in np.max(found, axis=0))

    def save(self, path: StrPath, *, lock: Lock | None = None) -> None:
        """Write the model to a file that only this user can read. Raises CheckpointError."""
        checkpoint.check_parameters(self.spec, self.parameters, where=str(path))
        checkpoint.write(Path(path), self.spec, self.owner, self.parameters, self.facts, lock)

    def save_graph(self, path: StrPath) -> None:
        """Write the graph, which is public, as operators name it in `graph`."""
        private_file.write(Path(path), f"{self.spec.to_json()}\n".encode(), mode=0o644)


# What an owner uploads.
Trained = Ran | Model


def load(path: Path, lock: Lock | None = None) -> Trained:
    """Read a RAN or a model to serve. Raises CheckpointError, which names the fault."""
    spec, described, parameters = checkpoint.read(path, lock)
    if isinstance(spec, ModelSpec):
        checkpoint.check_parameters(spec, parameters, where=str(path))
        return Model(spec, described["owner"], parameters, described["facts"])
    checkpoint.check(spec, parameters, where=str(path))
    return Ran(spec, described["owner"], parameters, described["facts"])


def require_model(path: Path, lock: Lock | None = None) -> Model:
    """Read a model to serve. Raises CheckpointError, also for a RAN."""
    found = load(path, lock)
    if not isinstance(found, Model):
        raise CheckpointError(f"{path}: is a RAN, and no other model")
    return found
