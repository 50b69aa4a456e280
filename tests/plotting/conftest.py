"""What tests of pictures measure."""

import io

import pytest


@pytest.fixture
def pixels():
    """A figure's PNG."""

    def draw(figure):
        file = io.BytesIO()
        figure.savefig(file, format="png")
        return file.getvalue()

    return draw


@pytest.fixture
def assert_clear():
    """Check that the legends cover no axes, and that everything is inside the figure."""

    def check(figure):
        figure.draw_without_rendering()
        width, height = figure.canvas.get_width_height()
        panels = [axes.get_tightbbox() for axes in figure.axes]
        legends = [legend.get_window_extent() for legend in figure.legends]
        boxes = [*legends, *panels]
        assert not any(one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[:k])
        assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)

    return check
