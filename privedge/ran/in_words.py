"""A spec in words: what it takes, and how two specs differ. Public facts only."""

from typing import Any

from privedge.ran.spec import RanSpec

# Digits of a digest that tell files apart; --json has them all.
_SHORT = 12


def takes(spec: RanSpec) -> str:
    """Say what is to be given to a model: "grey pictures of 32x32", "vectors of 128 values"."""
    said = spec.model_dump(mode="json")
    image, features = said["image"], said["features"]
    if image is None:
        return f"vectors of {features['size']} values"
    colour = "grey" if image["channels"] == 1 else "colour"
    pictures = f"{colour} pictures of {_size(image)}"
    if features["kind"] != "encoder":
        return pictures
    aligned = ", aligned faces" if features.get("aligned") else ""
    return f"{pictures}{aligned}, encoder {_digest(features['sha256'])}"


def differences(there: RanSpec, here: RanSpec) -> str:
    """Describe how a model's spec, `here`, differs from its cohort's: "1 channel there, 3 here"."""
    theirs, mine = _facts(there), _facts(here)
    told = [
        f"{label.format(value)} there, {mine[name][1]} here"
        for name, (label, value) in theirs.items()
        if name in mine and mine[name][1] != value
    ]
    if not told and there.features != here.features:
        told = [f"the feature map {there.features.kind} has other settings"]
    return "; ".join(told) or "the layers differ"


def _facts(spec: RanSpec) -> dict[str, tuple[str, str]]:
    """Return the facts of a spec by name: how one is said, and its value."""
    said = spec.model_dump(mode="json")
    image, features = said["image"], said["features"]
    facts = {"preset": ("preset {}", said["name"])}
    facts |= {"input": ("{}", "vectors" if image is None else "pictures")}
    if image is not None:
        plural = "" if image["channels"] == 1 else "s"
        facts["channels"] = (f"{{}} channel{plural}", str(image["channels"]))
        facts["size"] = ("pictures of {}", _size(image))
    facts["components"] = ("{} components", str(spec.components or "none"))
    facts["kind"] = ("feature map {}", features["kind"])
    facts["sha256"] = ("encoder {}", _digest(features.get("sha256", "none")))
    facts["numbers"] = ("vectors of {} values", str(features.get("size", "none")))
    facts["output"] = ("an encoder of {} values", str(features.get("output", "none")))
    facts["unit"] = ("unit length: {}", "yes" if features.get("unit_length") else "no")
    aligned = (features.get("aligned") or {}).get("detector", "none")
    facts["detector"] = ("detector of faces {}", _digest(aligned))
    return facts


def _size(image: dict[str, Any]) -> str:
    return f"{image['height']}x{image['width']}"


def _digest(sha256: str) -> str:
    return sha256[:_SHORT]
