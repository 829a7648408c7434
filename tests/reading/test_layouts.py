"""Small trees that follow the layouts of public sets, with real pixels, read as folders and as the zip they come in."""

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from syntrial.config import IngestConfig
from syntrial.errors import ConfigError, DataError
from syntrial.reading.layouts import MAX_TABLE_BYTES, find, listed

SAMPLE = sorted((Path(__file__).parents[2] / "data" / "sample" / "xray" / "normal").glob("*.png"))

KERMANY = [
    "chest_xray/train/NORMAL/IM-0115-0001.jpeg",
    "chest_xray/train/NORMAL/NORMAL2-IM-0383-0001.jpeg",
    "chest_xray/train/PNEUMONIA/person1_bacteria_1.jpeg",
    "chest_xray/train/PNEUMONIA/person1_bacteria_2.jpeg",
    "chest_xray/train/PNEUMONIA/person1000_virus_1681.jpeg",
    "chest_xray/test/NORMAL/IM-0001-0001.jpeg",
    "chest_xray/test/PNEUMONIA/person1_virus_6.jpeg",
    "chest_xray/test/PNEUMONIA/person100_bacteria_475.jpeg",
    "chest_xray/val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
    "chest_xray/val/PNEUMONIA/person1946_bacteria_4874.jpeg",
]
KERMANY_LITTER = [
    "chest_xray/chest_xray/train/NORMAL/IM-0115-0001.jpeg",
    "chest_xray/chest_xray/test/PNEUMONIA/person1_virus_6.jpeg",
    "chest_xray/__MACOSX/chest_xray/train/NORMAL/._IM-0115-0001.jpeg",
    "chest_xray/train/.DS_Store",
]
COVID19_OLD = [
    "COVID-19 Radiography Database/NORMAL/NORMAL (1).png",
    "COVID-19 Radiography Database/Viral Pneumonia/Viral Pneumonia (1).png",
    "COVID-19 Radiography Database/COVID-19/COVID-19 (1).png",
    "COVID-19 Radiography Database/NORMAL.metadata.xlsx",
    "COVID-19 Radiography Database/README.md.txt",
]
COVID19_NEW = [
    "COVID-19_Radiography_Dataset/Normal/images/Normal-1.png",
    "COVID-19_Radiography_Dataset/Normal/masks/Normal-1.png",
    "COVID-19_Radiography_Dataset/Viral Pneumonia/images/Viral Pneumonia-1.png",
    "COVID-19_Radiography_Dataset/Viral Pneumonia/masks/Viral Pneumonia-1.png",
    "COVID-19_Radiography_Dataset/Lung_Opacity/images/Lung_Opacity-1.png",
    "COVID-19_Radiography_Dataset/Lung_Opacity.metadata.xlsx",
    "COVID-19_Radiography_Dataset/Normal.metadata.xlsx",
]
NIH_TABLE = """Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,OriginalImage[Width,Height]
00000001_000.png,Cardiomegaly,0,1,58,2682,2749
00000002_000.png,No Finding,0,2,81,2500,2048
00000003_000.png,Pneumonia|Infiltration,0,3,81,2500,2048
00000003_001.png,Pneumonia,1,3,81,2500,2048
00000004_000.png,No Finding,0,4,82,2500,2048
"""
NIH = [
    "images_001/images/00000001_000.png",
    "images_001/images/00000002_000.png",
    "images_002/images/00000003_000.png",
    "images_002/images/00000003_001.png",
    "images_002/images/00000004_000.png",
    "images_002/images/00000009_000.png",
    "README_CHESTXRAY.pdf",
]
NIH_TEXTS = {"Data_Entry_2017_v2020.csv": NIH_TABLE, "test_list.txt": "00000003_000.png\n00000003_001.png\n"}


@pytest.fixture(params=["folder", "zip"])
def tree(request, tmp_path):
    """Makes a tree of real images and texts, as a folder and as a zip."""

    def make(names, texts=()):
        for name, image in zip(names, SAMPLE * 9, strict=False):
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, path)
        for name, text in dict(texts).items():
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode() if isinstance(text, str) else text)
        if request.param == "folder":
            return tmp_path / "tree"
        return Path(shutil.make_archive(str(tmp_path / "download"), "zip", tmp_path / "tree"))

    return make


def look(source, classes, tmp_path, **settings):
    found = find(source, classes, IngestConfig(**settings), tmp_path)
    return found, {c.file.name.rpartition("/")[2]: c for c in found.candidates if not c.aside}


def aside(found):
    return {c.file.name: c.aside for c in found.candidates if c.aside}


def test_counting_the_files_of_a_tar_unpacks_no_image(tree, tmp_path):
    source, classes = tree(NIH[:-1], NIH_TEXTS), ["No Finding", "Pneumonia"]
    packed = Path(shutil.make_archive(str(tmp_path / "nih"), "tar", tmp_path / "tree"))
    found = find(packed, classes, IngestConfig(), tmp_path, tables_only=True)
    whole = find(source, classes, IngestConfig(), tmp_path)
    assert [one.label for one in found.candidates] == [one.label for one in whole.candidates]
    unpacked = sorted(path.read_text(encoding="utf-8") for path in found.origin.path.iterdir())
    assert unpacked == sorted(NIH_TEXTS.values())


def test_kermany_keeps_patients_and_the_official_test_folder(tree, tmp_path):
    found, taken = look(tree(KERMANY), ["normal", "viral"], tmp_path)
    assert found.layout == "kermany"
    assert {name: (c.label, c.group, c.split) for name, c in taken.items()} == {
        "IM-0115-0001.jpeg": ("normal", "IM-0115", ""),
        "NORMAL2-IM-0383-0001.jpeg": ("normal", "NORMAL2-IM-0383", ""),
        "NORMAL2-IM-1427-0001.jpeg": ("normal", "NORMAL2-IM-1427", ""),
        "IM-0001-0001.jpeg": ("normal", "IM-0001", "test"),
        "person1000_virus_1681.jpeg": ("viral", "person1000_virus", ""),
        "person1_virus_6.jpeg": ("viral", "person1_virus", "test"),
    }
    assert set(aside(found).values()) == {"other class"}


def test_no_patient_of_kermany_is_in_both_the_test_folder_and_the_rest(tree, tmp_path):
    _, taken = look(tree(KERMANY), ["normal", "pneumonia"], tmp_path)
    test = {c.group for c in taken.values() if c.split == "test"}
    assert test and not test & {c.group for c in taken.values() if not c.split}


@pytest.mark.parametrize(
    ("classes", "images"),
    [
        (["NORMAL", "PNEUMONIA"], 10),
        (["normal", "virus"], 6),
        (["normal", "viral pneumonia"], 6),
        (["normal", "bacterial"], 8),
        (["viral", "bacterial"], 6),
    ],
)
def test_the_classes_of_kermany_go_by_several_names(tree, tmp_path, classes, images):
    assert len(look(tree(KERMANY), classes, tmp_path)[1]) == images


def test_a_class_that_lies_wholly_inside_another_is_refused(tree, tmp_path):
    with pytest.raises(DataError, match="has no image of the class 'viral'"):
        look(tree(KERMANY), ["pneumonia", "viral"], tmp_path)


def test_kermanys_second_copy_and_what_a_mac_left_are_set_aside(tree, tmp_path):
    found, taken = look(tree(KERMANY + KERMANY_LITTER), ["normal", "pneumonia"], tmp_path)
    assert len(taken) == len(KERMANY)
    assert aside(found) == dict(zip(KERMANY_LITTER, ["second copy", "second copy", "litter", "hidden"], strict=True))


def test_the_old_covid19_radiography_database(tree, tmp_path):
    found, taken = look(tree(COVID19_OLD), ["NORMAL", "Viral Pneumonia"], tmp_path)
    assert found.layout == "covid19-radiography"
    assert {name: c.label for name, c in taken.items()} == {
        "NORMAL (1).png": "NORMAL",
        "Viral Pneumonia (1).png": "Viral Pneumonia",
    }
    assert list(aside(found).values()) == ["other class", "other file", "other file"]


def test_the_new_covid19_radiography_database_gives_no_mask(tree, tmp_path):
    found, taken = look(tree(COVID19_NEW), ["Normal", "Viral Pneumonia", "Lung_Opacity"], tmp_path)
    assert found.layout == "covid19-radiography"
    assert len(taken) == 3 and all("/images/" in c.file.name for c in taken.values())
    assert {name for name, why in aside(found).items() if why == "mask"} == {n for n in COVID19_NEW if "masks" in n}


def test_nih_takes_labels_patients_and_test_images_from_its_tables(tree, tmp_path):
    found, taken = look(tree(NIH, NIH_TEXTS), ["no finding", "Pneumonia"], tmp_path)
    assert found.layout == "nih-chestxray14"
    assert {name: (c.label, c.group, c.split) for name, c in taken.items()} == {
        "00000002_000.png": ("no finding", "2", ""),
        "00000004_000.png": ("no finding", "4", ""),
        "00000003_000.png": ("Pneumonia", "3", "test"),
        "00000003_001.png": ("Pneumonia", "3", "test"),
    }
    assert aside(found)["images_001/images/00000001_000.png"] == "other class"
    assert aside(found)["images_002/images/00000009_000.png"] == "no class"


def test_an_nih_image_of_two_chosen_classes_belongs_to_neither(tree, tmp_path):
    texts = {**NIH_TEXTS, "Data_Entry_2017_v2020.csv": NIH_TABLE.replace("Cardiomegaly", "Infiltration")}
    found, taken = look(tree(NIH, texts), ["Pneumonia", "Infiltration"], tmp_path)
    assert sorted(taken) == ["00000001_000.png", "00000003_001.png"]
    assert aside(found)["images_002/images/00000003_000.png"] == "several classes"


def test_nih_archives_that_were_not_unpacked_are_named(tree, tmp_path):
    source = tree([], {**NIH_TEXTS, "images_001.tar.gz": b"\x1f\x8b"})
    with pytest.raises(DataError, match=r"unpack the archives in it first, such as images_001\.tar\.gz"):
        look(source, ["No Finding", "Pneumonia"], tmp_path)


def test_a_layout_that_is_asked_for_and_lacks_its_table_says_so(tree, tmp_path):
    with pytest.raises(DataError, match=r"needs its table Data_Entry_2017"):
        look(tree(NIH), ["No Finding", "Pneumonia"], tmp_path, layout="nih-chestxray14")


def test_folders_are_classes_in_any_case_and_at_any_depth(tree, tmp_path):
    names = ["set/Normal/a.png", "set/Normal/deep/er/b.png", "set/PNEUMONIA/c.png", "set/other/d.png", "set/notes.txt"]
    found, taken = look(tree(names), ["normal", "pneumonia"], tmp_path)
    assert {name: c.label for name, c in taken.items()} == {"a.png": "normal", "b.png": "normal", "c.png": "pneumonia"}
    assert aside(found) == {"set/other/d.png": "other class", "set/notes.txt": "other file"}


def test_a_class_that_is_not_there_is_refused_with_those_that_are(tree, tmp_path):
    with pytest.raises(DataError, match=r"has no image of the class 'pnumonia'; it has normal, pneumonia"):
        look(tree(["normal/a.png", "pneumonia/b.png"]), ["normal", "pnumonia"], tmp_path)


def test_a_single_class_may_stand_for_a_plain_folder(tree, tmp_path):
    found, taken = look(tree(["a.png", "deep/b.png", ".hidden.png"]), ["faces"], tmp_path)
    assert {c.label for c in taken.values()} == {"faces"} and sorted(taken) == ["a.png", "b.png"]
    assert aside(found) == {".hidden.png": "hidden"}


@pytest.mark.parametrize("label", ["faces", "Faces"])
def test_faces_are_all_files_also_where_one_folder_of_several_is_called_so(tree, tmp_path, label):
    found, taken = look(tree(["faces/a.png", "more/b.png", "c.png", ".hidden.png"]), [label], tmp_path)
    assert {name: c.label for name, c in taken.items()} == dict.fromkeys(("a.png", "b.png", "c.png"), label)
    assert aside(found) == {".hidden.png": "hidden"}


def test_a_single_class_of_another_name_is_chosen_by_its_folder(tree, tmp_path):
    found, taken = look(tree(["normal/a.png", "pneumonia/b.png"]), ["normal"], tmp_path)
    assert sorted(taken) == ["a.png"] and aside(found) == {"pneumonia/b.png": "other class"}


def test_joined_train_and_test_folders_are_a_doubt(tree, tmp_path):
    found, _ = look(tree(["train/a/x.png", "test/a/y.png", "train/b/z.png"]), ["a", "b"], tmp_path)
    assert "test, train were joined" in found.warnings[0]


MANIFESTS = {
    "plain": "file,label,group,split\nx/1.png,normal,p1,train\nx/2.png,sick,p2,test\nx/3.png,else,p3,\n",
    "aliases": "File,Class,Patient\nx/1.png,normal,p1\nx/2.png,sick,p2\n",
    "semicolons": "file;class;patient_group\nx/1.png;Normal;p1\nx/2.png;SICK;p2\n",
    "tabs and a mark": "\ufefffile\tlabel\tgroup\nx/1.png\tnormal\tp1\nx/2.png\tsick\tp2\n",
}


@pytest.mark.parametrize("text", MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_says_class_and_group(tree, tmp_path, text):
    found, taken = look(tree(["x/1.png", "x/2.png", "x/3.png"], {"manifest.csv": text}), ["normal", "sick"], tmp_path)
    assert found.layout == "manifest"
    assert {name: (c.label, c.group) for name, c in taken.items()} == {
        "1.png": ("normal", "p1"),
        "2.png": ("sick", "p2"),
    }
    assert len(found.candidates) == 4


def test_a_manifest_by_itself_finds_the_files_next_to_it(tmp_path):
    (tmp_path / "x").mkdir()
    for i in (1, 2):
        shutil.copy(SAMPLE[i], tmp_path / "x" / f"{i}.png")
    (tmp_path / "list.csv").write_text(MANIFESTS["plain"], encoding="utf-8")
    found, taken = look(tmp_path / "list.csv", ["normal", "sick"], tmp_path)
    assert [(c.file.name, c.split) for c in taken.values()] == [("x/1.png", "train"), ("x/2.png", "test")]
    assert aside(found) == {"x/3.png": "other class"}


def test_a_layout_that_is_asked_for_is_not_forgotten_over_a_manifest(tmp_path):
    (tmp_path / "list.csv").write_text(MANIFESTS["plain"], encoding="utf-8")
    with pytest.raises(ConfigError, match=r"ingest.layout is 'kermany', but list\.csv is a manifest; leave it at auto"):
        look(tmp_path / "list.csv", ["normal", "sick"], tmp_path, layout="kermany")


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ("file,group\nx/1.png,p1\n", "needs the columns file and label"),
        ("file,label\n../1.png,normal\n", r"line 2: \.\./1\.png is outside"),
        ("file,label\n/etc/passwd,normal\n", "line 2: /etc/passwd is outside"),
        ("file,label,split\nx/1.png,normal,holdout\n", "line 2: split is 'holdout'; it may be train, val, test"),
        ("file,label\nx/1.png,normal\n", "has no image of the class 'sick'; it has normal"),
    ],
)
def test_a_manifest_that_cannot_be_followed_is_refused_by_line(tree, tmp_path, rows, match):
    with pytest.raises(DataError, match=match):
        look(tree(["x/1.png"], {"manifest.csv": rows}), ["normal", "sick"], tmp_path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "file,label\na.png,normal\n" + 'b.png,"sick\n' + "c.png,normal\n" * 20_000,
            r"list\.csv, line \d+: field larger",
        ),
        ("file,label\n,normal\n", r"list\.csv, line 2: the file is missing"),
        ("label\nnormal\n", r"list\.csv needs the columns file and label"),
    ],
    ids=["a quotation mark", "no file", "no column"],
)
def test_a_manifest_by_itself_that_cannot_be_followed_is_refused(tmp_path, text, match):
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=match):
        listed(tmp_path / "list.csv")


def test_a_row_that_ends_early_or_names_what_no_system_can_has_no_file_and_no_more(tmp_path):
    (tmp_path / "list.csv").write_text("file,label,group\na\0b.png,normal\nb.png\n", encoding="utf-8")
    found = listed(tmp_path / "list.csv")
    assert [(one.file.name, one.file.size, one.names, one.group) for one in found] == [
        ("a\\x00b.png", -1, ("normal",), ""),
        ("b.png", -1, ("",), ""),
    ]


def test_a_table_that_is_too_large_is_refused_and_not_cut(tmp_path):
    (tmp_path / "list.csv").write_text("file,label\n", encoding="utf-8")
    os.truncate(tmp_path / "list.csv", MAX_TABLE_BYTES + 1)  # the rest takes no room
    with pytest.raises(DataError, match=r"list\.csv is a table of over 256 MiB"):
        listed(tmp_path / "list.csv")


def test_a_manifest_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "list.csv").write_bytes("file,label\nö.png,normal\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"list\.csv is neither a folder, an archive .* nor a table in UTF-8"):
        look(tmp_path / "list.csv", ["normal", "sick"], tmp_path)


def test_an_accent_composed_otherwise_in_the_manifest_still_finds_its_file(tree, tmp_path):
    text = "file,label\nr\u00f6ntgen.png,normal\nb.png,sick\n"
    _, taken = look(tree(["ro\u0308ntgen.png", "b.png"], {"manifest.csv": text}), ["normal", "sick"], tmp_path)
    assert len(taken) == 2 and all(c.file.size > 0 for c in taken.values())


def test_the_order_is_that_of_the_classes_then_of_the_names(tree, tmp_path):
    found, _ = look(tree(["b/2.png", "b/1.png", "a/3.png", "c/0.png"]), ["b", "a"], tmp_path)
    assert [c.file.name for c in found.candidates] == ["b/1.png", "b/2.png", "a/3.png", "c/0.png"]


def test_a_zip_is_read_without_being_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.write(SAMPLE[0], "normal/a.png")
        archive.write(SAMPLE[1], "sick/b.png")
    (tmp_path / "scratch").mkdir()
    look(tmp_path / "set.zip", ["normal", "sick"], tmp_path / "scratch")
    assert not list((tmp_path / "scratch").iterdir())
