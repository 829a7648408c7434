import copy
import csv
import io

import pytest

from syntrial.arms import DEFAULT, PRESETS
from syntrial.reporting import table
from syntrial.reporting.paper import PAPER_ROWS
from tests.fake_scores import results_in, small_study


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return results_in(tmp_path_factory.mktemp("study"))


def test_the_text_fits_a_terminal_of_120_columns(results):
    assert max(map(len, table.text(results).splitlines())) <= 120


def test_the_text_fits_even_with_losses_above_ten(results):
    huge = copy.deepcopy(results)
    for arms in huge["protocols"].values():
        for entry in arms.values():
            entry["numbers"]["val_loss"] = {"mean": 14.2, "sd": 11.1, "each": [14.2]}
    assert max(map(len, table.text(huge).splitlines())) <= 120


@pytest.mark.parametrize("render", [table.text, table.markdown])
def test_the_papers_figures_are_next_to_ours_under_both_protocols(results, render):
    reported = render(results)
    for row in PAPER_ROWS.values():
        for name in ("train_accuracy", "val_accuracy", "train_loss", "val_loss"):
            assert reported.count(f"{getattr(row, name):.4f}") >= 2


def test_the_misprinted_loss_is_marked_and_explained(results):
    reported = table.text(results)
    assert "0.0670*" in reported
    assert "* The paper's table prints 0.6700" in reported


def test_rows_have_the_order_of_the_study(tmp_path):
    arms = ["duplicates", "transfer_gan", "original"]
    results = results_in(tmp_path, small_study(arms=arms), full_size=False)
    rows = table.accuracy_loss(results, "held_out").rows
    assert [row[0] for row in rows] == [PRESETS[arm].title for arm in arms]


def test_a_single_seed_is_printed_without_a_spread(tmp_path):
    results = results_in(tmp_path, small_study(arms=["original"], seeds=[0]), full_size=False)
    assert "±" not in table.text(results)


def test_without_images_of_another_source_there_is_no_table_of_them(tmp_path):
    results = results_in(tmp_path, small_study(arms=["original"]), external=False, full_size=False)
    assert table.CAPTIONS["external"] not in table.text(results)


def test_every_verdict_is_printed_under_the_table(results):
    reported = " ".join(table.text(results).split())
    for arm, entry in results["protocols"]["held_out"].items():
        if arm != "original":
            assert " ".join(entry["verdict"]["sentence"].split()) in reported


def test_markdown_rows_have_as_many_cells_as_their_heads(results):
    for block in table.markdown(results).split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_the_csv_reads_back_to_the_very_numbers(results):
    rows = list(csv.DictReader(io.StringIO(table.as_csv(results))))
    assert len(rows) == 2 * len(DEFAULT)
    for row in rows:
        entry = results["protocols"][row["protocol"]][row["arm"]]
        for name, number in entry["numbers"].items():
            assert float(row[name]) == number["mean"]
            assert float(row[f"{name}_sd"]) == number["sd"]


def test_the_csv_leaves_empty_what_an_arm_does_not_have(results):
    rows = {(row["protocol"], row["arm"]): row for row in csv.DictReader(io.StringIO(table.as_csv(results)))}
    assert rows["as_printed", "original"]["test_auroc"] == ""
    assert rows["held_out", "duplicates"]["paper_val_loss"] == ""
    assert rows["held_out", "original"]["answer"] == ""
