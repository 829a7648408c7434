import pytest

from syntrial.words import counted


@pytest.mark.parametrize(("count", "words"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (2680, "2,680 images")])
def test_a_count_agrees_with_its_noun(count, words):
    assert counted(count, "image") == words


@pytest.mark.parametrize(("count", "words"), [(1, "1 class"), (2, "2 classes")])
def test_an_irregular_plural_is_given(count, words):
    assert counted(count, "class", "classes") == words
