"""Settings of the data: which samples a model sees.

Imports no torch: what reads the data is named by its import path and imported when data are
loaded.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from os.path import normpath
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from study.data.base import DataError, Dataset, Estimate, Predicts
from study.data.ood_sets import OodSources, checked_sets, set_name, sources_of
from study.settings.base import (
    Float,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Settings,
)
from study.settings.probe import HELD_OUT, ProbeConfig

SMALLEST_BPE = 257  # 256 bytes and the end of text
HUB_IMAGES = {
    "cifar10": "hub:uoft-cs/cifar10",
    "cifar100": "hub:uoft-cs/cifar100",
    "mnist": "hub:ylecun/mnist",
    "fashion_mnist": "hub:zalando-datasets/fashion_mnist",
}
PHOTOS = "photos"
NOISE = ("uniform_noise", "gaussian_noise")
"""Images that only `data.ood` can name, with the photographs."""
LONGEST_WORD_LIST = 40  # what the stories' word lists hold


Gives = Literal["tokens", "images", "samples", "vectors"]
Grouping = Annotated[str | None, Field(json_schema_extra={"neutral": None})]


def _same_source(a: str, b: str) -> bool:
    """Whether two names of sources mean the same images, of any revision."""
    names = (HUB_IMAGES.get(name, name) for name in (a, b))
    here, there = (
        name.partition("@")[0] if name.startswith("hub:") else normpath(name) for name in names
    )
    return here == there


def check_apart(ood: str | list[str] | None, trained: str) -> None:
    """Raise ValueError where the training's source is among sets of other data."""
    for source in sources_of(ood):
        if _same_source(source, trained):
            raise ValueError(
                f"ood: {source!r} is what is trained on, so it is not out of the distribution: "
                "name another source"
            )


class DataSettings(Settings):
    """Settings of one kind of data.

    Each kind is a subclass, listed in `study.data.kinds`.
    """

    gives: ClassVar[Gives]
    """What the inputs are, for models that read them."""
    loader: ClassVar[str]
    """Import path `module:name` of a function (settings, base, cache) -> Dataset."""
    has_floor: ClassVar[bool] = False
    """Whether the least possible loss is known: the fact `entropy_floor` of the data."""

    if TYPE_CHECKING:

        @property
        def kind(self) -> str:
            """The name of the kind: in each subclass a field with one possible value."""

        @property
        def seed(self) -> int:
            """Seed of everything random about the data: in each subclass a field."""

    def load(self, *, base: Path, cache: Path) -> Dataset:
        """The data; see `study.data.load_data`."""
        data: Dataset = resolve_name(self.loader)(self, base, cache)
        return data

    @abstractmethod
    def estimate(self, *, base: Path, cache: Path) -> Estimate | None:
        """The size of the data; see `study.data.estimate`."""

    def check(self, *, base: Path) -> None:
        """Raise DataError where the data cannot be read; see `study.data.check_data`."""

    @property
    def hub_source(self) -> str | None:
        """The source, where it lies on the hub."""
        return None

    @property
    def known_shape(self) -> tuple[int, ...] | None:
        """Shape of one input; None where only the data tell."""
        return None

    @property
    def numbers_are_tokens(self) -> bool:
        """Whether classes are the token numbers of a tokenizer that was not made here.

        Only then can rows of a head beyond the classes be what pads it: with other classes they
        would be other tokens.
        """
        return False

    def check_probe(self, probe: ProbeConfig) -> None:
        """Raise ValueError for a probe of other classes that the data cannot give.

        Kinds whose classes can be held out, or come from another source, do otherwise.
        """
        raise ValueError(
            f"measure.probe needs classes beside those that are trained on, which data.kind "
            f"{self.kind} has not: leave it out, or take images"
        )

    @property
    def has_even_classes(self) -> bool:
        """Whether all classes that are trained on are sure to have equally many samples."""
        return False

    @property
    def ood_sets(self) -> tuple[str, ...]:
        """Names of the sets of other data that stand beside the data."""
        return tuple(set_name(source) for source in sources_of(getattr(self, "ood", None)))

    def without_unfetched(self) -> Self:
        """The settings without the sets of other data that lie on the hub."""
        sources = sources_of(getattr(self, "ood", None))
        here = [each for each in sources if each not in HUB_IMAGES and not each.startswith("hub:")]
        return self if len(here) == len(sources) else self.model_copy(update={"ood": here or None})

    @property
    def is_grouped(self) -> bool:
        """Whether samples belong to groups that are compared: `group` is set."""
        return getattr(self, "group", None) is not None

    @property
    def predicts(self) -> Predicts:
        """Whether samples have classes or target vectors."""
        return "classes"

    @property
    def has_ordered_classes(self) -> bool:
        """Whether the numbers of classes are their order."""
        return False


def _known_tokenizer(tokenizer: str) -> str:
    if tokenizer.startswith("hub:"):
        return _hub_name(tokenizer)
    if tokenizer.startswith("bpe:"):
        size = tokenizer.removeprefix("bpe:")
        digits = size.isascii() and size.isdigit() and len(size) < 10
        if not digits or int(size) < SMALLEST_BPE:
            raise ValueError(
                f"{tokenizer!r}: the number after bpe: is the size of the vocabulary, at least "
                f"{SMALLEST_BPE} (256 bytes and the end of text), such as bpe:1024"
            )
        return f"bpe:{int(size)}"
    if tokenizer == "char" or tokenizer.endswith(".json") or "/" in tokenizer:
        return tokenizer
    raise ValueError(
        f"{tokenizer!r} is no known tokenizer: use char, bpe:N (such as bpe:1024), a "
        "tokenizers file ending in .json, a folder with a tokenizer.json, or "
        "hub:NAME[@REVISION]"
    )


class Corpus(DataSettings):
    """Where a text comes from, how it becomes tokens, and which share of it is used."""

    gives: ClassVar[Gives] = "tokens"
    source: str = "python-docs"
    """`python-docs`, a file, a folder, or `hub:NAME[@REVISION]`.

    A file is a .txt, .jsonl or .parquet file, the first two also as .gz or .zst; a folder holds
    such files, with the split in their names (`train.txt`, `valid.txt`).
    """
    text_column: str = "text"
    """Column of a table (.jsonl, .parquet, hub) that holds the text of a document."""
    select: str | None = None
    """One part of a .txt by its title, such as one play of a volume of plays."""
    tokenizer: Annotated[str, AfterValidator(_known_tokenizer)] = "char"
    """`char`, `bpe:N`, a file or folder, or `hub:NAME[@REVISION]`.

    A file is one of `tokenizers` in JSON, a folder has a tokenizer.json.
    """
    vocabulary: Literal["full", "observed"] = "full"
    """`observed` leaves only the tokens that occur in the text as classes.

    Training and validation text count.
    """
    context: Annotated[PositiveInt, Field(ge=2)] = 128
    """Tokens in a chunk; a chunk of T tokens gives T - 1 samples."""
    val_fraction: Fraction = 0.1
    """Share of the text, at its end, that is kept for validation.

    It is used where the corpus has no split validation, valid or test.
    """
    group: Grouping = None
    """A YAML file of token lists, `name: [token, ...]`, each a group that is compared.

    A sample is of the group whose list has its class. Accuracy and self-duality are compared.
    """
    seed: NonNegativeInt = 0
    """Seed of everything random about the data.

    Subsets that are measured, balancing, label noise.
    """

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str) -> str:
        if source.startswith("hub:"):
            return _hub_name(source)
        endings = (".txt", ".jsonl", ".parquet")
        plain = source.removesuffix(".gz").removesuffix(".zst")
        if (
            source == "python-docs"
            or plain.endswith(endings)
            or "/" in source
            or source in (".", "..")
        ):
            return source
        raise ValueError(
            f"{source!r} is no known source: use python-docs, a file ending in "
            f"{', '.join(endings)}, a folder (written with a slash, such as ./folder) or "
            "hub:NAME[@REVISION]"
        )

    def check(self, *, base: Path) -> None:
        resolve_name("study.data.token_files:check_readable")(self, base)

    @property
    def hub_source(self) -> str | None:
        return self.source if self.source.startswith("hub:") else None

    @property
    def known_shape(self) -> tuple[int, ...]:
        return (self.context - 1,)

    @property
    def numbers_are_tokens(self) -> bool:
        own = self.tokenizer == "char" or self.tokenizer.startswith("bpe:")
        return self.vocabulary == "full" and not own


def _hub_name(text: str) -> str:
    if not re.fullmatch(r"hub:[\w.-]+(/[\w.-]+)?(@[\w./-]+)?", text):
        raise ValueError(
            f"{text!r} is no hub name: write hub:OWNER/NAME or hub:OWNER/NAME@REVISION"
        )
    return text


class TextData(Corpus):
    """A corpus packed into chunks; every token but the first of a chunk is a sample."""

    loader: ClassVar[str] = "study.data.text:load_text"
    kind: Literal["text"] = "text"
    train_tokens: PositiveInt | None = None
    """Training tokens to use, from the start of the training text.

    They are cut down to whole chunks; none = all.
    """
    val_tokens: PositiveInt | None = None
    """Validation tokens to use, from the start of the validation text.

    They are cut down to whole chunks; none = all.
    """
    ignore_first: NonNegativeInt = 0
    """Number of samples at the start of each chunk that are left out.

    Their short contexts tell little of what follows.
    """
    bos: Literal["false", "true", "auto"] = Field(
        default="false", json_schema_extra={"neutral": "false"}
    )
    """Whether each chunk begins with the beginning of text, which is no sample.

    `auto`: if the tokenizer itself puts it before a text, as those of Llama and Gemma do.
    """

    ood: OodSources = Field(default=None, json_schema_extra={"neutral": None})
    """Texts of other sources, whose positions are told from those of validation.

    One source or a list, in the tokens and chunks of the training's; what its vocabulary lacks is
    left out.
    """

    @field_validator("ood")
    @classmethod
    def _known_ood(cls, ood: str | list[str] | None) -> str | list[str] | None:
        return checked_sets(ood, cls._known_source)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        check_apart(self.ood, self.source)
        return self

    @field_validator("bos", mode="before")
    @classmethod
    def _bos_as_text(cls, value: object) -> object:
        return str(value).lower() if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _samples_are_left(self) -> Self:
        if self.ignore_first >= self.context - 1:
            raise ValueError(
                f"ignore_first: {self.ignore_first} leaves none of the {self.context - 1} samples "
                "of a chunk"
            )
        return self

    def check(self, *, base: Path) -> None:
        super().check(base=base)
        resolve_name("study.data.text_ood:check_text_ood")(self, base)

    def estimate(self, *, base: Path, cache: Path) -> Estimate | None:
        size: Estimate | None = resolve_name("study.data.estimates:of_text")(self, base, cache)
        return size


class Imbalance(Settings):
    """How the number of training samples differs between classes.

    A ratio of 1 is balance.
    """

    imbalance: Literal["step", "exponential"] = "step"
    """`step`: a share of the classes is small.

    `exponential`: sizes fall geometrically from class to class.
    """
    imbalance_ratio: Annotated[Float, Field(ge=1)] = 1.0
    """Samples of the largest class by those of the smallest."""
    minority_fraction: Fraction = 0.5
    """Share of the classes that is small under `step`."""


class BalancedData(Corpus, Imbalance):
    """Windows of a corpus, chosen so that all classes have equally many samples.

    The class of a window is the token after it.

    The last token of a window of `context` tokens is the one sample of its row, with all others as
    its context.
    """

    loader: ClassVar[str] = "study.data.balanced:load_balanced"
    kind: Literal["balanced"] = "balanced"
    quota: PositiveInt | None = None
    """Training samples of a class (of the largest, under imbalance).

    None = as many as the rarest class has.
    """
    val_quota: PositiveInt | None = None
    """Validation samples of a class, or all that there are if fewer; none = quota."""
    min_class_count: PositiveInt = 10
    """Tokens that the training text holds fewer times are no classes."""
    target_classes: Annotated[PositiveInt, Field(ge=2)] | None = None
    """Only so many tokens, the most frequent, are classes; none = all that are frequent enough."""

    @property
    def has_even_classes(self) -> bool:
        return self.imbalance_ratio == 1

    def estimate(self, *, base: Path, cache: Path) -> Estimate | None:
        size: Estimate | None = resolve_name("study.data.estimates:of_balanced")(self, base, cache)
        return size


class StoriesData(DataSettings):
    """Stories of a probabilistic grammar, whose entropy per token is known exactly."""

    gives: ClassVar[Gives] = "tokens"
    loader: ClassVar[str] = "study.data.stories:load_stories"
    has_floor: ClassVar[bool] = True
    kind: Literal["stories"] = "stories"
    words_per_list: Annotated[int, Field(ge=2, le=LONGEST_WORD_LIST)] = 20
    """Words in each of the lists (names, animals, ...) that stories draw from.

    The dial for the number of classes.
    """
    zipf_exponent: NonNegativeFloat = 1.0
    """The word of rank r in a list has probability proportional to r^-exponent; 0 = all alike."""
    ambiguity: Annotated[Float, Field(ge=0, le=1)] = 0.1
    """Chance that a determined word is replaced by one drawn from its list."""
    predict: Literal["all", "determined"] = "all"
    """`all` tokens are samples, or only the `determined` ones.

    Those are the words that the story so far determines, up to the ambiguity.
    """
    context: Annotated[PositiveInt, Field(ge=2)] = 64
    """Tokens in a row, the beginning of the story among them.

    A row of T tokens has at most T - 1 samples.
    """
    train_tokens: PositiveInt = 200_000
    """Training tokens to write (cut down to whole rows)."""
    val_tokens: PositiveInt = 50_000
    """Validation tokens to write (cut down to whole rows)."""
    group: Grouping = None
    """A YAML file of lists of words, `name: [word, ...]`, each a group that is compared."""
    seed: NonNegativeInt = 0
    """Seed of the text, and of the subset of it that is measured."""

    def check_rows(self) -> None:
        """Raise DataError where a split is smaller than a row."""
        for name, tokens in (("train", self.train_tokens), ("val", self.val_tokens)):
            if tokens < self.context:
                raise DataError(
                    f"data.{name}_tokens: {tokens} are less than one row of data.context = "
                    f"{self.context}"
                )

    @property
    def known_shape(self) -> tuple[int, ...]:
        return (self.context - 1,)

    def estimate(self, *, base: Path, cache: Path) -> Estimate | None:
        size: Estimate | None = resolve_name("study.data.estimates:of_stories")(self, base, cache)
        return size


class ImagesData(DataSettings, Imbalance):
    """Labelled images.

    Inputs are standardised with the mean and deviation of each channel of the training images.
    """

    gives: ClassVar[Gives] = "images"
    loader: ClassVar[str] = "study.data.images:load_images"
    kind: Literal["images"] = "images"
    source: str = "digits"
    """`digits` (8 x 8, of scikit-learn) or another source of images.

    `cifar10`, `cifar100`, `mnist`, `fashion_mnist`, `hub:NAME[@REVISION]`, or a folder: of parquet
    files with splits, of pictures (`train/CLASS/*.png`), of idx files (MNIST, EMNIST), python or
    binary batches (CIFAR) as originally published; an archive of such a folder (.zip, .tar,
    .tar.gz), or an .npz file (MedMNIST, Keras).
    """
    label_column: str | None = None
    """Column of a table, or key of python batches, that holds the class.

    None = the customary one.
    """
    val_fraction: Fraction = 0.2
    """Share of the images kept for validation.

    It is used where the source has no split validation, valid or test.
    """
    quota: PositiveInt | None = None
    """Training images of a class (of the largest, under imbalance).

    None = all, or, under imbalance, as many as the rarest class has.
    """
    label_noise: Annotated[Float, Field(ge=0, lt=1)] = 0.0
    """Share of the training images that are given a wrong class, any other being equally likely."""
    held_out_classes: Annotated[list[NonNegativeInt], Field(min_length=1)] | None = Field(
        default=None, json_schema_extra={"neutral": None}
    )
    """Classes, numbered from 0, that are out of training and validation; the others are renumbered.

    `measure.probe` measures what features know of them.
    """
    ood: OodSources = Field(default=None, json_schema_extra={"neutral": None})
    """Other images, which are told from validation images and compared with class means.

    One set or a list: a source as above, `photos` (patches of two photographs of scikit-learn),
    `uniform_noise` or `gaussian_noise` (with the mean and deviation of each channel); resized and
    scaled to fit.
    """
    group: Grouping = None
    """Column of a table whose values are groups of images that are compared."""
    seed: NonNegativeInt = 0
    """Seed of the split, of the images left out and of the noise."""

    @field_validator("held_out_classes")
    @classmethod
    def _each_once(cls, classes: list[int] | None) -> list[int] | None:
        if classes is not None and len(set(classes)) < len(classes):
            raise ValueError("names a class twice: keep it once")
        return None if classes is None else sorted(classes)

    @field_validator("ood")
    @classmethod
    def _known_ood(cls, ood: str | list[str] | None) -> str | list[str] | None:
        own = (PHOTOS, *NOISE)
        return checked_sets(ood, lambda each: each if each in own else cls._known_images(each))

    @model_validator(mode="after")
    def _apart(self) -> Self:
        check_apart(self.ood, self.source)
        return self

    @field_validator("source")
    @classmethod
    def _known_images(cls, source: str) -> str:
        if source.startswith("hub:"):
            return _hub_name(source)
        if (
            source in ("digits", ".", "..", *HUB_IMAGES)
            or "/" in source
            or source.endswith((".npz", ".zip", ".tar", ".tar.gz", ".tgz"))
        ):
            return source
        raise ValueError(
            f"{source!r} is no known source of images: use digits, {', '.join(HUB_IMAGES)}, "
            "hub:NAME[@REVISION] or a folder (written with a slash, such as ./folder)"
        )

    def estimate(self, *, base: Path, cache: Path) -> Estimate | None:
        size: Estimate | None = resolve_name("study.data.estimates:of_images")(self, base, cache)
        return size

    def check(self, *, base: Path) -> None:
        resolve_name("study.data.image_sources:image_path")(self, base)
        resolve_name("study.data.ood:check_ood")(self, base)

    def check_probe(self, probe: ProbeConfig) -> None:
        if probe.data == HELD_OUT:
            if self.held_out_classes is None:
                raise ValueError(
                    "measure.probe.data is held_out, but no class is: list some in "
                    "data.held_out_classes, or name another source of images"
                )
            return
        try:
            self._known_images(probe.data)
        except ValueError as error:
            text = f"measure.probe.data is neither held_out nor a source: {error}"
            raise ValueError(text) from None
        if _same_source(probe.data, self.source):
            raise ValueError(
                f"measure.probe.data is {probe.data}, on which the model is trained, so that it "
                "would say nothing of transfer: hold classes out by data.held_out_classes and "
                "probe held_out, or name another source of images"
            )

    @property
    def hub_source(self) -> str | None:
        on_hub = self.source in HUB_IMAGES or self.source.startswith("hub:")
        return self.source if on_hub else None

    @property
    def has_ordered_classes(self) -> bool:
        return True  # whoever trains them as ordered says that the order of their names is theirs


class FreeData(DataSettings, Imbalance):
    """Samples without content, for the unconstrained-features model.

    Validation samples are the training samples.
    """

    gives: ClassVar[Gives] = "samples"
    loader: ClassVar[str] = "study.data.free:load_free"
    kind: Literal["free"] = "free"
    classes: Annotated[PositiveInt, Field(ge=2, le=1_000_000)] = 10
    """Number of classes."""
    quota: Annotated[PositiveInt, Field(le=1_000_000_000)] = 20
    """Samples of a class (of the largest, under imbalance)."""
    seed: NonNegativeInt = 0
    """Seed of the subset that is measured."""

    @property
    def has_even_classes(self) -> bool:
        return self.imbalance_ratio == 1

    @property
    def has_ordered_classes(self) -> bool:
        return True

    def estimate(self, *, base: Path, cache: Path) -> Estimate | None:
        size: Estimate | None = resolve_name("study.data.estimates:of_free")(self, base, cache)
        return size
