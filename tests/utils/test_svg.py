"""Tests of small figures."""

from xml.etree import ElementTree

import numpy as np

from sk_b2s._utils._svg import draw_svg_dots, draw_svg_lines


def list_points(svg):
    lines = ElementTree.fromstring(svg).findall("polyline")
    return [np.array([point.split(",") for point in line.get("points").split()], float) for line in lines]


def test_lines_are_scaled_to_the_axes():
    up, down = list_points(draw_svg_lines([([0, 2], [0, 10]), ([0, 1, 2], [10, np.nan, 0])], ("a & b", "c")))
    assert up[0, 0] < up[1, 0]
    assert up[0, 1] > up[1, 1], "the origin of SVG is at the top"
    np.testing.assert_allclose(up[:, 1], down[::-1, 1])
    assert len(list_points(draw_svg_lines([(range(10_000), np.zeros(10_000))], ("x", "y")))[0]) == 200
    assert len(list_points(draw_svg_lines([([], [])], ("x", "y")))[0]) == 0


def test_dots_leave_out_unknown_places():
    svg = ElementTree.fromstring(draw_svg_dots([[0.5, 1.0], [np.nan, 0.5]], size=100))
    places = {(dot.get("cx"), dot.get("cy")) for dot in svg.findall("circle")}
    assert places == {("50.0", "0.0"), ("50.0", "50.0")}, "one dot and the head"
