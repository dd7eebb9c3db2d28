"""The preset `face`: its two public files by digest, and how they want a picture.

`make face-recipe DIR=faces/` makes both files (docs/how-to/faces.md). The encoder is
SFace (docs/explanation/references.md#sface).
"""

from privedge.ran.feature_kinds import Alignment, Encoder, EncoderInput
from privedge.ran.spec import ImageShape, RanSpec, Subspace

NAME = "face"
# Beside the encoder: the public rivals that the recipe makes (tools/face_pictures.py).
RIVALS = "rivals.npz"
SIDE = 112
# The places on which SFace was trained, in its 112 x 112 pixels; OpenCV's FaceRecognizerSF has the
# same.
TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
DETECTOR_SHA256 = "84c7dc7f198f17ec2a572b61a5124f05253e269b87ef2b5a01af4d8237213b10"
# SFace scales its pixels itself, and its output has any length: only the direction tells people.
ENCODER = Encoder(
    sha256="0fad6008b546b1bdc42863e3cfac6a56c9703e41d3d081e3f7fd831a6151a94a",
    output=(128,),
    input=EncoderInput(order="rgb", layout="nchw", scale=(1.0,), offset=(0.0,)),
    unit_length=True,
    aligned=Alignment(detector=DETECTOR_SHA256, template=TEMPLATE),
)
# More make no difference to frontal faces; these few help where poses differ.
COMPONENTS = 4
# A margin belongs to an encoder. With 2 to 40 people this one lets in less than 1 % of strangers
# (docs/how-to/faces.md#how-well-it-works).
MARGIN = 0.7


def spec() -> RanSpec:
    """Return the architecture. It is for colour; a grey picture is repeated in each channel."""
    return RanSpec(
        name=NAME,
        image=ImageShape(height=SIDE, width=SIDE, channels=3),
        features=ENCODER,
        layers=(Subspace(components=COMPONENTS),),
    )


def alignment(detector: str, image: ImageShape) -> Alignment:
    """Return how faces are cut out for another encoder of faces, which takes pictures of `image`.

    detector: the SHA-256 of the detector's file. The template is SFace's, at the size of `image`;
    most encoders of faces were trained on the same places.
    """
    right, left, nose, mouth_right, mouth_left = (
        (x * image.width / SIDE, y * image.height / SIDE) for x, y in TEMPLATE
    )
    template = (right, left, nose, mouth_right, mouth_left)
    return Alignment(detector=detector, template=template)
