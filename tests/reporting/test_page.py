import pytest
from jinja2 import UndefinedError

from syntrial.reporting.page import Cards, Grid, Listing, Numbers, Paragraph, Section, Setting, Settings, document
from syntrial.reporting.table import Table

FRAME = {"title": "a study", "question": "does it help?", "warnings": "", "footer": "made here"}
MARKUP = "<b>one & two"


def page(*blocks, **frame):
    return document(**{**FRAME, **frame}, sections=[Section("part", "A part", [*blocks])])


@pytest.mark.parametrize("name", FRAME)
def test_a_page_without_one_of_its_parts_is_refused(name):
    with pytest.raises(UndefinedError, match=name):
        document(**{key: value for key, value in FRAME.items() if key != name}, sections=[])


@pytest.mark.parametrize(
    "block",
    [
        Paragraph(MARKUP),
        Listing([MARKUP]),
        Grid(MARKUP, [MARKUP], [[MARKUP, MARKUP]]),
        Numbers(Table(MARKUP, [("", MARKUP), (MARKUP, MARKUP)], [[MARKUP, MARKUP]])),
        Settings(MARKUP, [MARKUP] * 5, [(MARKUP, [Setting(MARKUP, True, [MARKUP] * 4)])]),
    ],
    ids=lambda block: block.kind,
)
def test_text_that_looks_like_markup_is_shown_as_it_is(block):
    drawn = page(block)
    assert "&lt;b&gt;one &amp; two" in drawn
    assert "<b>" not in drawn


@pytest.mark.parametrize("empty", [Listing([]), Grid("no rows", ["a", "b"], [])])
def test_a_table_or_list_without_content_is_left_out(empty):
    assert page(empty) == page()


def test_the_warnings_are_announced_only_where_there_are_some():
    assert "to read before" not in page()
    assert '<a href="#warnings">1 warning</a> to read before' in page(warnings="1 warning")


def test_a_misprinted_number_links_to_the_erratum_and_a_spread_follows_its_mean():
    table = Table("t", [("", "arm"), ("loss", "paper"), ("loss", "ours")], [["D3", "0.0670*", "0.1±0.02"]])
    drawn = page(Numbers(table))
    assert '0.0670<a href="#erratum" title="see the erratum">*</a></td>' in drawn
    assert "<td>0.1 <small>± 0.02</small></td>" in drawn
    assert '<th scope="colgroup" colspan="2">loss</th>' in drawn


def test_a_changed_setting_is_marked_and_every_cell_carries_the_name_of_its_column():
    settings = [Setting("seed", True, ["1", "0", "of chance", "ours"]), Setting("side", False, ["64"] * 4)]
    drawn = page(Settings("s", ["setting", "value", "default", "meaning", "source"], [("split", settings)]))
    assert '<tr class="changed"><th scope="row">◆ seed</th><td data-name="value">1</td>' in drawn
    assert '<tr><th scope="row">side</th>' in drawn


def test_no_cards_are_no_error():
    assert '<div class="cards">' in page(Cards([]))
