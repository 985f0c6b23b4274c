"""The part of the input that an output position can depend on."""

from cornu.explain.receptive_field.centres import Centres, centres_on_input
from cornu.explain.receptive_field.fields import Field, Fields, receptive_field

__all__ = ["Centres", "Field", "Fields", "centres_on_input", "receptive_field"]
