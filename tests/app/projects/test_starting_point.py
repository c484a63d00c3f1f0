"""What a new project begins with."""

from app.projects.starting_point import guidelines


def test_the_guidelines_are_one_page() -> None:
    assert 150 < len(guidelines().split()) < 600
