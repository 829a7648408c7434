"""The arms of a study: recipes for a training set, each an arrangement of rows of one pooled image set."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperRow:
    """One row of the paper's table 1 (Sashank et al. 2022)."""

    dataset: str
    train_accuracy: float
    val_accuracy: float
    train_loss: float
    val_loss: float


@dataclass(frozen=True)
class Arm:
    """What an arm trains on. Every arm has the same classifier, the same seeds and, held out, the same number of
    steps.
    """

    title: str
    generator: str = ""  # the kind of generator whose images are added: "simple", "transfer" or none
    conventional: str = (
        ""  # "instead": augmented copies in place of the originals; "online": fresh changes in every batch
    )
    duplicates: bool = False  # adds as many copies of real images as a GAN arm adds generated ones
    control: str = ""  # the arm it is judged against; the reference arm has none
    paper: PaperRow | None = None


# The paper prints 0.6700 as D3's training loss; its text says 0.0670, and 0.67 is near chance (ln 2), which 97.7 %
# contradicts.
ARMS: dict[str, Arm] = {
    "original": Arm("D1 original", paper=PaperRow("D1", 0.9348, 0.9259, 0.1595, 0.3016)),
    "conventional": Arm(
        "D2 conventional",
        conventional="instead",
        control="original",
        paper=PaperRow("D2", 0.9013, 0.9231, 0.2587, 0.2919),
    ),
    "simple_gan": Arm(
        "D3 original + simple GAN",
        generator="simple",
        control="duplicates",
        paper=PaperRow("D3", 0.9771, 1.0000, 0.0670, 0.0281),
    ),
    "transfer_gan": Arm(
        "D4 original + transfer GAN",
        generator="transfer",
        control="duplicates",
        paper=PaperRow("D4", 0.9786, 0.9574, 0.0566, 0.0739),
    ),
    "conventional_online": Arm("original, augmented on the fly", conventional="online", control="original"),
    "duplicates": Arm("original + duplicates (control)", duplicates=True, control="original"),
}


def control_of(arm: str, arms: list[str]) -> str:
    """The arm that `arm` is judged against among those of a study: its own control, else the originals, else none
    ("").
    """
    for candidate in (ARMS[arm].control, "original"):
        if candidate in arms and candidate != arm:
            return candidate
    return ""
