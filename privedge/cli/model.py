"""`privedge model`: bring a model that is no RAN into a form that can be served."""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import ForceOption, JsonOption, KeyFileOption, lock_to_read, path

if TYPE_CHECKING:
    from privedge.user.served_model import Model

# Values that come so near to the limit are warned of: other inputs may reach it.
_MARGIN = 16
_LONGEST_NAME = 64
# privedge/ran/narrow.py
_MOST_ASKED = 64


def register(app: typer.Typer) -> None:
    """Add `model export` and `model inspect`."""
    group = typer.Typer(
        name="model",
        help="Export and inspect a model that is no RAN.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("export")(_export)
    group.command("inspect")(_inspect)
    app.add_typer(group)


def _export(
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", parser=path, help="The model.")],
    owner: Annotated[
        str, typer.Option("--owner", metavar="NAME", help="Whose it is, as in the certificate.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE", parser=path, help="Where the model goes. It is secret."
        ),
    ],
    graph: Annotated[
        Path,
        typer.Option(
            "--graph",
            metavar="FILE.json",
            parser=path,
            help="Where its graph goes, for both operators. It is public.",
        ),
    ],
    outputs: Annotated[
        str,
        typer.Option(
            "--outputs",
            metavar="KIND",
            help="What may leave of an answer: label, scores, or rounded:BITS.",
        ),
    ] = "label",
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", metavar="A,B,...", help="What the scores are called, in order. Public."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Of the model; by default the file's."),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Split an ONNX file into a graph, which is public, and a model with secret parameters.

    No code from the file is run, and what is not on the list of operations is refused by name.
    Operators give the graph as `graph` of a cohort; its owner uploads the model.

    \b
    Example:
      privedge model export net.onnx --owner clinic --out triage.model --graph triage.json
    """
    from privedge import private_file
    from privedge.errors import CheckpointError
    from privedge.user.served_model import Model

    for target in (out, graph):
        private_file.require_writable(target)
        if target.exists() and not force:
            raise CheckpointError(
                f"{target}: exists; choose another name, or replace it with --force"
            )
    model = Model.from_onnx(
        file,
        owner=owner,
        name=name or _named_like(file),
        outputs=outputs,
        labels=tuple(label.strip() for label in labels.split(",")) if labels else (),
    )
    model.save(out)
    model.save_graph(graph)
    if as_json:
        print(json.dumps({"file": str(out), "graph": str(graph), **_facts(model)}))
    else:
        print(f"{out}: model of {owner}, secret; {graph}: its graph, for both operators")
        _say(model)


def _inspect(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", parser=path, help="What `model export` wrote.")
    ],
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--inputs",
            metavar="FILE.npz",
            parser=path,
            help="Inputs of the usual kind, to see how large values become in each layer.",
        ),
    ] = None,
    key_file: KeyFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is public of a model: its layers and shapes, what may leave, and the digest.

    The parties compute with values below 32768, and nobody notices one that is not. With --inputs
    it computes in the clear, on this device, how near each layer comes.

    \b
    Examples:
      privedge model inspect triage.model
      privedge model inspect triage.model --inputs validation.npz
    """
    from privedge.ran.model_inputs import inputs_of
    from privedge.sharing.fixed_point import LIMIT
    from privedge.user import served_model

    model = served_model.require_model(file, lock_to_read(file, key_file))
    given = None if inputs is None else inputs_of(inputs, model.spec)
    largest = () if given is None else model.largest(given)
    if as_json:
        print(json.dumps({**_facts(model), "largest": largest}))
        return
    _say(model, largest)
    if given is not None and (most := float(abs(given).max())) >= _MOST_ASKED:
        print(
            f"warning: these inputs reach {most:.4g}, and clients can ask with values below "
            f"{_MOST_ASKED} only: scale them down, and the first layer's weights up",
            file=sys.stderr,
        )
    if max(largest, default=0.0) >= LIMIT / _MARGIN:
        print(
            "warning: values come near 32768, from where answers mean nothing: scale the inputs or "
            "the weights down",
            file=sys.stderr,
        )


def _named_like(file: Path) -> str:
    """A name of small letters, digits and hyphens."""
    return re.sub("[^a-z0-9]+", "-", file.stem.lower()).strip("-")[:_LONGEST_NAME] or "model"


def _facts(model: "Model") -> dict[str, object]:
    spec = model.spec
    return {
        "owner": model.owner,
        "spec": json.loads(spec.to_json()),
        "digest": spec.digest(),
        "shapes": spec.shapes(),
        "parameters": sum(value.size for value in model.parameters.values()),
    }


def _say(model: "Model", largest: tuple[float, ...] = ()) -> None:
    spec = model.spec
    print(spec.in_words)
    for index, (layer, shape) in enumerate(zip(spec.layers, spec.shapes(), strict=True)):
        reached = f"  up to {largest[index]:.4g}" if largest else ""
        print(f"{index:4}  {layer.kind:13}  {'x'.join(map(str, shape)):12}{reached}".rstrip())
    count = sum(value.size for value in model.parameters.values())
    print(f"{count} parameters; SHA-256 {spec.digest()}")
