"""The catalogue of datasets: what each is, whose it is and on what terms, without any download.

A licence line says only what could be found. "None stated" means that no licence was found where
the data are published, not that the data are free to use.
"""

from __future__ import annotations

from dataclasses import dataclass

from causalprune_lib._validation import check_choice
from causalprune_lib.nets.sources import (
    LEGCNET_COMMIT,
    LEGCNET_REPOSITORY,
    TEXT_COMMIT,
    TEXT_REPOSITORY,
)


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before loading it.

    Attributes
    ----------
    name : str
        The name for `load_dataset`.
    shape : tuple of int
        Shape of one example: (C, H, W) for images, (D,) for tables, () for text.
    n_classes : int
        K.
    class_names : tuple of str
        One name per class. Empty where they are read from the data (tiny_imagenet).
    source, licence : str
        Where the data come from, and on what terms they may be used.
    kind : {"image", "table", "text"}
        What an example is.
    n_train, n_test : int
        Examples as published. A mirror may hold fewer: a loaded `Dataset` has its own numbers.
    """

    name: str
    shape: tuple[int, ...]
    n_classes: int
    class_names: tuple[str, ...]
    source: str
    licence: str
    kind: str
    n_train: int
    n_test: int


_UCI = "CC BY 4.0, as listed by the UCI repository"
_PAPER = f"github.com/{LEGCNET_REPOSITORY} at {LEGCNET_COMMIT[:7]}"
_DIGIT_NAMES = tuple("0123456789")
_IRIS_NAMES = ("setosa", "versicolor", "virginica")
# Every character of the text, in code order.
_CHARACTERS = tuple("\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
# fmt: off
_FASHION_NAMES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)
_CIFAR_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)
# fmt: on

_CATALOGUE = (
    # Bundled with scikit-learn: always there. The split is ours (20% test, stratified, fixed).
    DatasetInfo(
        "digits",
        (1, 8, 8),
        10,
        _DIGIT_NAMES,
        "handwritten digits, test part of archive.ics.uci.edu/dataset/80, with scikit-learn",
        _UCI,
        "image",
        1437,
        360,
    ),
    DatasetInfo(
        "iris",
        (4,),
        3,
        _IRIS_NAMES,
        "Fisher's iris (1936), archive.ics.uci.edu/dataset/53 corrected, bundled with scikit-learn",
        _UCI,
        "table",
        120,
        30,
    ),
    DatasetInfo(
        "breast_cancer",
        (30,),
        2,
        ("malignant", "benign"),
        "breast cancer Wisconsin, archive.ics.uci.edu/dataset/17, bundled with scikit-learn",
        _UCI,
        "table",
        455,
        114,
    ),
    DatasetInfo(
        "wine",
        (13,),
        3,
        ("cultivar 0", "cultivar 1", "cultivar 2"),
        "wine, archive.ics.uci.edu/dataset/109, bundled with scikit-learn",
        _UCI,
        "table",
        142,
        36,
    ),
    # The tables of the LEGCNet paper (arXiv:2308.09955), from its authors' repository.
    DatasetInfo(
        "cancer",
        (9,),
        2,
        ("benign", "malignant"),
        f"binary_cancer.csv of {_PAPER}: Breast Cancer Wisconsin (Original), UCI dataset 15, "
        "without its 16 incomplete rows",
        f"the file: none stated; the original: {_UCI}",
        "table",
        546,
        137,
    ),
    DatasetInfo(
        "titanic",
        (6,),
        2,
        ("died", "survived"),
        f"titanic_*.csv of {_PAPER}: Kaggle's Titanic, origin of the test labels not stated",
        "none stated",
        "table",
        891,
        418,
    ),
    DatasetInfo(
        "banknote",
        (4,),
        2,
        ("class 0", "class 1"),  # UCI does not say which of the two is the genuine note
        f"binary_banknote.csv of {_PAPER}: Banknote Authentication, UCI dataset 267",
        f"the file: none stated; the original: {_UCI}",
        "table",
        1097,
        275,
    ),
    DatasetInfo(
        "vowel",
        (3,),
        6,
        # The file has numbers 1..6; the names follow from the class sizes 72, 89, 172, 151, 207
        # and 180 that the literature gives for these vowels.
        ("ə", "a", "i", "u", "e", "o"),
        f"vowel.csv of {_PAPER}: formants of Telugu vowels (Pal and Dutta Majumder, 1977)",
        "none stated",
        "table",
        741,
        130,
    ),
    DatasetInfo(
        "iris_csv",
        (4,),
        3,
        _IRIS_NAMES,
        f"Iris.csv of {_PAPER}: UCI dataset 53 in the layout of Kaggle's copy",
        f"the file: none stated; the original: {_UCI}",
        "table",
        120,
        30,
    ),
    DatasetInfo(
        "iris3f",
        (3,),
        3,
        _IRIS_NAMES,
        f"Iris.csv of {_PAPER}, sepal length, petal length and petal width only",
        f"the file: none stated; the original: {_UCI}",
        "table",
        120,
        30,
    ),
    # Images, from the Hugging Face Hub.
    DatasetInfo(
        "mnist",
        (1, 28, 28),
        10,
        _DIGIT_NAMES,
        "MNIST (LeCun, Cortes and Burges), huggingface.co/datasets/ylecun/mnist",
        "CC BY-SA 3.0, as listed by Keras; we found no statement by the authors themselves",
        "image",
        60_000,
        10_000,
    ),
    DatasetInfo(
        "fashion_mnist",
        (1, 28, 28),
        10,
        _FASHION_NAMES,
        "Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017), "
        "huggingface.co/datasets/zalando-datasets/fashion_mnist",
        "MIT, copyright Zalando SE",
        "image",
        60_000,
        10_000,
    ),
    DatasetInfo(
        "cifar10",
        (3, 32, 32),
        10,
        _CIFAR_NAMES,
        "CIFAR-10 (Krizhevsky, 2009), huggingface.co/datasets/uoft-cs/cifar10",
        "none stated (the Hub's card says unknown)",
        "image",
        50_000,
        10_000,
    ),
    DatasetInfo(
        "tiny_imagenet",
        (3, 64, 64),
        200,
        (),
        "Tiny ImageNet (Stanford CS231n; test is its validation split), "
        "huggingface.co/datasets/zh-plus/tiny-imagenet",
        "ImageNet's terms of access: non-commercial research and education only",
        "image",
        100_000,
        10_000,
    ),
    DatasetInfo(
        "tinyshakespeare",
        (),
        65,
        _CHARACTERS,
        f"tiny Shakespeare, github.com/{TEXT_REPOSITORY} at {TEXT_COMMIT[:7]}",
        "Shakespeare's text is in the public domain; none stated for this selection",
        "text",
        1_003_853,
        111_539,
    ),
)

_BY_NAME = {info.name: info for info in _CATALOGUE}
DATASETS: tuple[str, ...] = tuple(_BY_NAME)
BUNDLED = ("digits", "iris", "breast_cancer", "wine")
LEGCNET = ("cancer", "titanic", "banknote", "vowel", "iris_csv", "iris3f")


def dataset_info(name: str) -> DatasetInfo:
    """What is known of a dataset, with no download and no file read.

    Examples
    --------
    >>> info = dataset_info("cifar10")
    >>> info.shape, info.n_classes, info.licence
    ((3, 32, 32), 10, "none stated (the Hub's card says unknown)")
    """
    return _BY_NAME[check_choice("name", name, DATASETS)]
