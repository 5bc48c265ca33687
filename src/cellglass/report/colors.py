"""A colour and a marker for every class, the same in all figures of a report."""

from collections.abc import Sequence
from dataclasses import dataclass

# Okabe & Ito (2008), "Color Universal Design", https://jfly.uni-koeln.de/color/, with
# their yellow (#f0e442) exchanged for a dark brown: dots of that yellow vanish on a white
# page (contrast 1.3 : 1). The order is ours: the first three, then four, are about as far
# apart as this set allows for every kind of colour vision; black, the loudest, is last.
EIGHT = (
    "#0072b2",  # blue
    "#d55e00",  # vermilion
    "#56b4e9",  # sky blue
    "#cc79a7",  # reddish purple
    "#009e73",  # bluish green
    "#e69f00",  # orange
    "#662a00",  # dark brown
    "#000000",  # black
)

# Found by a search over the web colours that stand out from white (contrast of 1.7 : 1 or
# more) and are neither grey (chroma of 20 or more) nor nearly black (lightness of 22 or
# more): the smallest CIEDE2000 difference between any two, over normal vision and the
# three dichromacies, is as large as the search could make it, 14.0. In the order given,
# each colour is the one farthest from all before it. Published sets of this size have
# pairs nobody with protanopia can tell apart: 2.1 in Krzywinski's fifteen.
FIFTEEN = (
    "#222299",
    "#ff9988",
    "#aabbff",
    "#443300",
    "#337755",
    "#8811ff",
    "#3399aa",
    "#dd5577",
    "#aa8822",
    "#771144",
    "#cccc00",
    "#9977ff",
    "#665577",
    "#556600",
    "#22ddcc",
)

# Filled shapes, so that the colour stays visible at a few points' size; the easiest to
# tell apart come first.
MARKERS = ("o", "s", "^", "X", "D", "v", "P", "*", "<", ">", "p", "h", "d")


@dataclass(frozen=True)
class Style:
    """How the cells of one class are drawn.

    Attributes
    ----------
    color
        ``"#rrggbb"`` in lower case (sRGB).
    marker
        A filled marker in matplotlib's notation, such as ``"o"``.
    """

    color: str
    marker: str


def class_styles(categories: Sequence[str]) -> dict[str, Style]:
    """Give every class a colour and a marker of its own.

    The answer depends only on which classes there are: neither their order nor repeats
    matter, so a class looks the same in every figure drawn from the same labels.

    Parameters
    ----------
    categories
        Names of the classes, in any order; repeats count once, and none at all gives an
        empty answer. A whole column of labels will do.

    Returns
    -------
    dict of str to Style
        One style a class, in sorted order of the names. Up to 8 classes are drawn in the
        colours of Okabe & Ito (2008), up to 15 in a larger set, all as circles. Beyond
        that the fifteen colours are gone through again with the next marker, so two
        classes of one colour always differ in shape. No pair of colour and marker comes
        twice up to 195 classes; with more than that, the styles start over.

    Notes
    -----
    Smallest CIEDE2000 difference between two colours of one set, with dichromacy
    simulated after Machado, Oliveira & Fernandes (2009), severity 1:

    ===============  ======  ==========  ============  ==========
    set              normal  protanopia  deuteranopia  tritanopia
    ===============  ======  ==========  ============  ==========
    up to 4 classes    22.3        12.2          15.7        13.9
    up to 8            22.2        12.2          12.5        10.9
    up to 15           18.6        14.0          14.0        14.2
    ===============  ======  ==========  ============  ==========

    Examples
    --------
    >>> class_styles(["T cell", "B cell"])["B cell"]
    Style(color='#0072b2', marker='o')
    """
    names = sorted(set(categories))
    palette = EIGHT if len(names) <= len(EIGHT) else FIFTEEN
    return {
        name: Style(
            color=palette[i % len(palette)],
            marker=MARKERS[i // len(palette) % len(MARKERS)],
        )
        for i, name in enumerate(names)
    }
