"""`privedge cohorts`: which cohorts there are for you, and what they take."""

import json
from typing import TYPE_CHECKING

import typer

from privedge.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from privedge.user.cohorts import Listed


def register(app: typer.Typer) -> None:
    """Add `cohorts`."""
    app.command("cohorts")(_cohorts)


def _cohorts(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List the cohorts you may ask or join: owners, margin, and what they take.

    Both parties are asked. They list a cohort only to the clients and owners it is for.

    \b
    Examples:
      privedge cohorts --config owner-ana.toml
      privedge cohorts --json
    """
    from privedge.config import ClientConfig, load
    from privedge.user import cohorts

    found = cohorts.listed(load(ClientConfig, config))
    if as_json:
        print(json.dumps({"cohorts": [_facts(each) for each in found]}))
        return
    if not found:
        print(
            "there is no cohort for you; ask the operators for its name and to be put on its list"
        )
        return
    for line in _lines(found):
        print(line)


def _facts(cohort: "Listed") -> dict[str, object]:
    from privedge.graph.spec import ModelSpec
    from privedge.user.cohorts import AGREED

    said = cohort.facts
    spec = said.architecture
    if isinstance(spec, ModelSpec):
        return {
            "name": cohort.name,
            "owners": said.owners,
            "takes": "input",
            "input": spec.input_shape,
            "outputs": spec.outputs.word,
            "model": spec.name,
            "labels": spec.labels,
            "spec_digest": spec.digest(),
            "parties_agree": cohort.state == AGREED,
        }
    described = spec.model_dump(mode="json")
    return {
        "name": cohort.name,
        "owners": said.owners,
        "takes": "vector" if described["image"] is None else "picture",
        "image": described["image"],
        "features": described["features"],
        "preset": spec.name,
        "components": spec.components,
        "spec_digest": spec.digest(),
        "margin": said.margin,
        "mean_share": said.mean_share,
        "rivals": said.rivals[0],
        "can_answer_unknown": not cohort.never_unknown,
        "parties_agree": cohort.state == AGREED,
    }


def _lines(found: "tuple[Listed, ...]") -> list[str]:
    """Plain columns: a table would cut names to the width of the terminal."""
    from privedge.graph.spec import ModelSpec
    from privedge.ran.in_words import takes
    from privedge.user.cohorts import AGREED

    wide = max(len("cohort"), *(len(each.name) for each in found))
    lines = [f"{'cohort':{wide}}  owners  margin  takes"]
    for each in found:
        owners, margin = each.facts.owners, each.facts.margin
        if isinstance(spec := each.facts.architecture, ModelSpec):
            differs = f"; {each.state}" * (each.state != AGREED)
            lines.append(f"{each.name:{wide}}  {owners:6}  {'-':6}  {spec.in_words}{differs}")
            continue
        notes = [f"never answers unknown: {why}"] if (why := each.never_unknown) else []
        notes += [each.state] if each.state != AGREED else []
        said = "".join(f"; {note}" for note in notes)
        taken = takes(spec)
        lines.append(f"{each.name:{wide}}  {owners:6}  {margin:6.4g}  {taken}{said}")
    return lines
