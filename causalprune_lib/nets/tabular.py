"""The tables of the LEGCNet paper, with the rows and the split of its released code.

Paper: "To prune or not to prune: a chaos-causality approach to principled pruning of dense neural
networks", arXiv:2308.09955. The paper says only "80:20 train-test split". Row order, split and
scaling below follow the authors' released code. Two checks say that they are right: the sizes are
the published ones (546/137, 891/418, 1097/275, 741/130, 120/30), and the published initial weights
give the dense rows of table 1, epoch and accuracy, for every table but vowel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from causalprune_lib._validation import check_choice, check_finite, check_int
from causalprune_lib.nets.sources import fetch

if TYPE_CHECKING:
    import os

    import pandas as pd

ROW_SEED = 42  # the released code's np.random.seed(42), drawn here without touching global state
# The released code scales with these; "sample" runs across the features of one row.
RELEASED_SCALING = {
    "cancer": "sample",
    "titanic": "sample",
    "banknote": "sample",
    "vowel": "range",
    "iris_csv": "feature",
    "iris3f": "feature",
}
INITIAL_WEIGHTS = {
    "cancer": "cancer2",
    "titanic": "titanic2",
    "banknote": "bank_note",
    "vowel": "vowel",
    "iris_csv": "iris",
    "iris3f": "iris3f",
}


@dataclass(frozen=True, eq=False)
class Table:
    """Features and labels as read: float64 (N, D) and int64 (N,), in the released row order."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    origin: str


def load_table(
    name: str,
    *,
    released: bool = False,
    cache_dir: str | os.PathLike | None = None,
) -> Table:
    """Read one of the paper's tables, unscaled.

    Parameters
    ----------
    name : {"cancer", "titanic", "banknote", "vowel", "iris_csv", "iris3f"}
    released : bool
        Only titanic differs: its one missing test fare becomes the most frequent fare of the TEST
        rows as released, and that of the training rows by default.
    cache_dir : path, optional
        As for `load_dataset`.

    Returns
    -------
    Table
        Rows in the order of `numpy.random.seed(42); numpy.random.shuffle(rows)`, cut into a first
        part for training and the rest for testing. Titanic keeps Kaggle's split; only its
        training rows are shuffled.
    """
    check_choice("name", name, RELEASED_SCALING)
    if name == "titanic":
        return _titanic(released, cache_dir)
    file, header, features, n_train = {
        "cancer": ("binary_cancer.csv", None, slice(0, 9), 546),
        "banknote": ("binary_banknote.csv", None, slice(0, 4), 1097),
        "vowel": ("vowel.csv", 0, slice(0, 3), 741),
        "iris_csv": ("Iris.csv", 0, slice(1, 5), 120),
        "iris3f": ("Iris.csv", 0, [1, 3, 4], 120),  # column 0 is the row number
    }[name]
    frame, origin = _read(file, header, cache_dir)
    x = frame.iloc[:, features].to_numpy(np.float64)
    _, y = np.unique(frame.iloc[:, -1].to_numpy(), return_inverse=True)  # classes in sorted order
    check_finite(f"{file} of {name!r}", x)
    order = np.random.RandomState(ROW_SEED).permutation(len(x))
    x, y = x[order], y[order].astype(np.int64)
    return Table(x[:n_train], y[:n_train], x[n_train:], y[n_train:], origin)


def _titanic(released: bool, cache_dir) -> Table:
    train, origin = _read("titanic_train.csv", 0, cache_dir)
    test, _ = _read("titanic_test.csv", 0, cache_dir)
    answers, _ = _read("titanic_testy.csv", 0, cache_dir)
    y_train = train["Survived"].to_numpy(np.int64)
    y_test = answers["Survived"].to_numpy(np.int64)
    x_train, x_test = _passengers(train), _passengers(test)
    # Two embarkation ports are missing in train and one fare in test.
    x_train = x_train.fillna(x_train.mode().iloc[0])
    x_test = x_test.fillna((x_test if released else x_train).mode().iloc[0])
    x_train, x_test = x_train.to_numpy(np.float64), x_test.to_numpy(np.float64)
    check_finite("titanic's training rows", x_train)
    check_finite("titanic's test rows", x_test)
    order = np.random.RandomState(ROW_SEED).permutation(len(x_train))
    return Table(x_train[order], y_train[order], x_test, y_test, origin)


def _passengers(frame: pd.DataFrame) -> pd.DataFrame:
    """The six features used: Pclass, Sex, SibSp, Parch, Fare, Embarked. Age is not among them."""
    return frame.assign(
        Sex=frame["Sex"].map({"female": 0, "male": 1}),
        Embarked=frame["Embarked"].map({"S": 0, "C": 1, "Q": 2}),
    )[["Pclass", "Sex", "SibSp", "Parch", "Fare", "Embarked"]].astype(float)


def _read(file: str, header: int | None, cache_dir) -> tuple[pd.DataFrame, str]:
    import pandas as pd

    path, origin = fetch(f"data/{file}", cache_dir=cache_dir)
    return pd.read_csv(path, header=header), origin


def scale_as_released(name: str, x: np.ndarray) -> np.ndarray:
    """Scale `x` (N, D) by its own statistics, as the released code does, train and test alike.

    cancer, titanic, banknote: each SAMPLE is standardised across its own features (the code fits
    the scaler on the transposed matrix), so features of different units are mixed. iris_csv and
    iris3f: each feature is standardised. vowel: each feature is brought to [0, 1].
    """
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    scaling = RELEASED_SCALING[check_choice("name", name, RELEASED_SCALING)]
    if scaling == "sample":
        return StandardScaler().fit_transform(x.T).T
    return (MinMaxScaler() if scaling == "range" else StandardScaler()).fit_transform(x)


def load_legcnet_init(
    name: str, *, trials: int = 5, cache_dir: str | os.PathLike | None = None
) -> list[list[np.ndarray]]:
    """The initial weights that the LEGCNet paper's authors published.

    Parameters
    ----------
    name : {"cancer", "titanic", "banknote", "vowel", "iris_csv", "iris3f"}
    trials : int
        The paper uses the first 5 (default); the files hold 10.
    cache_dir : path, optional
        As for `load_dataset`.

    Returns
    -------
    list of [W1, b1, W2, b2], float64, fresh copies
        W1 (H, D), b1 (H, 1), W2 (K, H), b2 (K, 1) for D features, H hidden neurons and K outputs
        (K = 1 for two classes).

    Raises
    ------
    CorruptDataError
        If the file has another sha256. The file is a pickle, which can run code when it is read,
        so the check comes first.
    """
    key = f"init/{INITIAL_WEIGHTS[check_choice('name', name, INITIAL_WEIGHTS)]}.npy"
    path, _ = fetch(key, cache_dir=cache_dir)
    stored = np.load(path, allow_pickle=True)
    trials = check_int("trials", trials)
    if trials > len(stored):
        raise ValueError(f"trials must be at most {len(stored)}; got {trials}.")
    return [[np.array(part, dtype=np.float64) for part in stored[i]] for i in range(trials)]
