"""The assignment as a notebook does it: Keras, scikit-learn, matplotlib.

Four autoencoders (10 and 50 latent dimensions; mean squared error over all entries, and over
the non-zero ones), their errors, and PCA and t-SNE of the original, all reconstructions and
all latent vectors, coloured by label. It is spared what a careless notebook wastes: the
original is mapped once, and t-SNE sees 50 principal components, as scikit-learn's
documentation advises.

    python keras_notebook.py counts.npy labels.txt figures/
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

started = time.perf_counter()

import keras
import matplotlib as mpl
import numpy as np
import tensorflow as tf
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from answer import answer

mpl.use("Agg")
import matplotlib.pyplot as plt

EPOCHS = 50
BATCH_SIZE = 128


def nonzero_mse(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Squared error over the non-zero entries, by their number."""
    mask = tf.cast(tf.math.not_equal(y_true, 0), tf.float32)
    return tf.reduce_sum(tf.square(y_true - y_pred * mask)) / tf.reduce_sum(mask)


def autoencoder(n_genes: int, n_latent: int) -> tuple[keras.Model, keras.Model]:
    """n_genes → 100 → n_latent → 100 → n_genes; also its encoder."""
    inputs = keras.Input((n_genes,))
    hidden = keras.layers.Dense(100, activation="relu")(inputs)
    latent = keras.layers.Dense(n_latent)(hidden)
    hidden = keras.layers.Dense(100, activation="relu")(latent)
    outputs = keras.layers.Dense(n_genes)(hidden)
    return keras.Model(inputs, outputs), keras.Model(inputs, latent)


def maps(X: np.ndarray) -> dict[str, np.ndarray]:
    """Map a matrix with PCA and with t-SNE."""
    scores = PCA(min(50, X.shape[1]), random_state=0).fit_transform(X)
    return {"PCA": scores[:, :2], "t-SNE": TSNE(random_state=0).fit_transform(scores)}


def main(counts: str, labels: str, folder: str) -> None:
    """Do it all."""
    clock = {"imports": time.perf_counter() - started}
    X = np.load(counts).astype(np.float32)
    label = np.loadtxt(labels, dtype=str)
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    at = time.perf_counter()
    spaces = {}
    errors = {}
    for loss in ("mse", nonzero_mse):
        for n_latent in (10, 50):
            keras.utils.set_random_seed(0)
            model, encoder = autoencoder(X.shape[1], n_latent)
            model.compile(optimizer="adam", loss=loss)
            model.fit(X, X, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0)
            name = f"{loss if isinstance(loss, str) else loss.__name__}_{n_latent}"
            X_hat = model.predict(X, batch_size=512, verbose=0)
            errors[name] = float(np.mean((X - X_hat) ** 2))
            spaces[f"reconstruction_{name}"] = X_hat
            spaces[f"latent_{name}"] = encoder.predict(X, batch_size=512, verbose=0)
    clock["training"] = time.perf_counter() - at
    at = time.perf_counter()
    original = maps(X)
    mapped = {name: maps(space) for name, space in spaces.items()}
    clock["maps"] = time.perf_counter() - at
    at = time.perf_counter()
    for name, both in mapped.items():
        for kind, points in both.items():
            figure, axes = plt.subplots(1, 2, figsize=(10, 4.5))
            for axis, title, shown in (
                (axes[0], "original", original[kind]),
                (axes[1], name, points),
            ):
                for one in np.unique(label):
                    axis.scatter(*shown[label == one].T, s=3, label=one)
                axis.set_title(f"{kind}: {title}")
            axes[1].legend(markerscale=3)
            figure.savefig(out / f"{kind}_{name}.png", dpi=130)
            plt.close(figure)
    clock["figures"] = time.perf_counter() - at
    clock["total"] = time.perf_counter() - started
    packages = ("keras", "tensorflow-cpu", "scikit-learn", "numpy", "matplotlib")
    answer(clock, packages, mse=errors)


if __name__ == "__main__":
    main(*sys.argv[1:])
