"""Pictures are well-formed, whatever the numbers."""

from xml.etree import ElementTree

from bench.svg import Bar, bars, lines

SVG = "{http://www.w3.org/2000/svg}"


def lengths(picture: str) -> list[float]:
    """Widths of all rectangles, solid and pale in turn."""
    return [float(one.attrib["width"]) for one in ElementTree.fromstring(picture).iter(f"{SVG}rect")]


def test_bars_are_as_long_as_their_numbers() -> None:
    """The shortest first; a pale part follows its solid one."""
    picture = bars("x < y", [Bar("long", 3.0, 1.0), Bar("short", 2.0)])

    short, _, solid, pale = lengths(picture)
    assert short == (solid + pale) / 2
    assert solid == 3 * pale


def test_a_wide_range_is_drawn_by_its_logarithm() -> None:
    """So that the least can be seen at all, and the title says so."""
    picture = bars("cost", [Bar("a", 0.1), Bar("b", 1.0), Bar("c", 100.0)])

    widths = [one for one in lengths(picture) if one]
    assert "Logarithmic scale." in picture
    assert widths[0] > 0
    assert abs((widths[2] - widths[1]) - 2 * (widths[1] - widths[0])) < 0.5


def test_lines_meet_the_axis_at_zero() -> None:
    """The vertical axis begins at nothing: a difference looks as large as it is."""
    picture = lines("t", {"a": [(1.0, 0.0), (100.0, 10.0)]}, x="size", y="cost", logarithmic=True, mark=5.0)

    [line] = ElementTree.fromstring(picture).iter(f"{SVG}polyline")
    first, last = ([float(part) for part in point.split(",")] for point in line.attrib["points"].split())
    assert first[1] > last[1]
    assert first[0] < last[0]
