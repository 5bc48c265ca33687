"""A saved model and a file of new cells give a file of latent vectors."""

import csv

import anndata
import numpy as np
import pytest
from scipy import sparse

import cellglass as cg
from cellglass.embed import embed_file
from cellglass.errors import InputError, MissingGenesError
from cellglass.fit import fit_model
from cellglass.settings import ModelSettings


@pytest.fixture(scope="module")
def cells():
    adata = cg.simulate(40, 12, 2, random_state=3)
    adata.X = sparse.csr_matrix(adata.layers["counts"])
    adata.uns["note"] = {"by": "someone"}
    adata.obsm["X_pca"] = np.ones((40, 2))
    return adata


@pytest.fixture(scope="module")
def model(cells, tmp_path_factory):
    settings = ModelSettings(n_latent=2, n_hidden=4, max_epochs=2)
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    fit_model(cells.X, settings, genes=cells.var_names).model.save(path)
    return path


@pytest.fixture
def new(cells, tmp_path):
    cells.write_h5ad(tmp_path / "new.h5ad")
    return tmp_path / "new.h5ad"


@pytest.fixture(name="Z")
def latent_vectors(cells, model):
    return cg.load(model).transform(cells)


def test_an_h5ad_comes_back_whole_with_the_latent_vectors_added(model, new, Z, tmp_path):
    account = embed_file(model, new, tmp_path / "out.h5ad")
    before, after = map(anndata.read_h5ad, (new, tmp_path / "out.h5ad"))
    np.testing.assert_array_equal(after.obsm.pop("X_ae"), Z)
    about = after.uns.pop("ae_transform")
    assert (about["model"], about["n_genes_found"], about["n_genes_missing"]) == (
        "m.safetensors", 12, 0,
    )  # fmt: skip
    assert "40 cells, 2 latent dimensions" in account
    assert "12 genes" in account
    assert before.obs.equals(after.obs) and before.var.equals(after.var)
    assert (before.X != after.X).nnz == 0
    assert set(before.obsm) == set(after.obsm) and after.uns["note"] == {"by": "someone"}
    assert set(before.layers) == set(after.layers)


def test_what_is_there_is_kept_and_another_key_is_added(model, new, tmp_path):
    first = tmp_path / "first.h5ad"
    embed_file(model, new, first)
    with pytest.raises(InputError, match=r"obsm\['X_ae'\] already.*--key-added"):
        embed_file(model, first, tmp_path / "out.h5ad")
    embed_file(model, first, tmp_path / "out.h5ad", key_added="X_again")
    after = anndata.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(after.obsm["X_again"], after.obsm["X_ae"])
    assert {"ae_transform", "again_transform"} < set(after.uns)


def test_genes_in_another_order_and_more_of_them_change_nothing(model, cells, Z, tmp_path):
    order = np.random.default_rng(0).permutation(12)
    X = sparse.hstack([cells.X[:, order], sparse.csr_matrix(np.full((40, 3), 7))], format="csr")
    more = anndata.AnnData(X)
    more.var_names = [*cells.var_names[order], "x", "y", "z"]
    more.write_h5ad(tmp_path / "more.h5ad")
    embed_file(model, tmp_path / "more.h5ad", tmp_path / "out.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), Z)


def test_a_layer_takes_the_place_of_x(model, cells, Z, tmp_path):
    other = cells.copy()
    other.layers["counts"] = other.X
    other.X = -np.ones(other.shape)  # such as after scaling
    other.write_h5ad(tmp_path / "scaled.h5ad")
    embed_file(model, tmp_path / "scaled.h5ad", tmp_path / "out.npy", layer="counts")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), Z)
    with pytest.raises(InputError, match=r"layer.*'count'.*counts"):
        embed_file(model, tmp_path / "scaled.h5ad", tmp_path / "new.npy", layer="count")
    with pytest.raises(InputError, match="negative"):
        embed_file(model, tmp_path / "scaled.h5ad", tmp_path / "new.npy")
    assert not (tmp_path / "new.npy").exists()


def test_text_has_one_row_a_cell_and_no_formula(model, cells, Z, tmp_path):
    hostile = cells.copy()
    hostile.obs_names = ["=1+1", "@x", "<b>", "a,b", *(f"c{i}" for i in range(36))]
    hostile.write_h5ad(tmp_path / "new.h5ad")
    embed_file(model, tmp_path / "new.h5ad", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["cell", "ae_1", "ae_2"]
    assert [row[0] for row in rows[:4]] == ["'=1+1", "'@x", "<b>", "a,b"]
    np.testing.assert_array_equal(np.array([row[1:] for row in rows], np.float32), Z)


def test_a_table_of_text_can_be_embedded_into_an_h5ad(model, cells, Z, tmp_path):
    frame = cells.to_df()
    frame.to_csv(tmp_path / "new.csv")
    embed_file(model, tmp_path / "new.csv", tmp_path / "out.h5ad")
    after = anndata.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(after.obsm["X_ae"], Z)
    assert list(after.obs_names) == list(cells.obs_names)


# --- what is refused -----------------------------------------------------------------


def test_genes_that_do_not_match_are_listed_and_nothing_is_written(model, cells, tmp_path):
    cells[:, :6].copy().write_h5ad(tmp_path / "few.h5ad")
    with pytest.raises(InputError, match=r"gene_6.*gene_11"):
        embed_file(model, tmp_path / "few.h5ad", tmp_path / "out.h5ad")
    assert [p.name for p in tmp_path.iterdir()] == ["few.h5ad"]
    account = embed_file(model, tmp_path / "few.h5ad", tmp_path / "out.h5ad", min_coverage=0.5)
    assert "6 missing, filled with 0" in account


def test_the_names_of_all_missing_genes_can_be_had_as_a_file(tmp_path):
    cells = cg.simulate(30, 150, 2, random_state=3)
    cells.X = cells.layers["counts"]
    settings = ModelSettings(n_latent=2, n_hidden=4, max_epochs=1)
    wide, few = tmp_path / "m.safetensors", tmp_path / "few.h5ad"
    fit_model(cells.X, settings, genes=cells.var_names).model.save(wide)
    cells[:, :20].copy().write_h5ad(few)
    with pytest.raises(MissingGenesError, match=r"and 30 more.*--missing-genes"):
        embed_file(wide, few, tmp_path / "out.npy")
    listed = tmp_path / "missing.txt"
    with pytest.raises(MissingGenesError):
        embed_file(wide, few, tmp_path / "out.npy", missing_genes=listed)
    assert listed.read_text().split() == list(cells.var_names[20:])
    assert not (tmp_path / "out.npy").exists()
    with pytest.raises(InputError, match=r"missing\.txt already exists"):
        embed_file(wide, few, tmp_path / "out.npy", missing_genes=listed)
    with pytest.raises(InputError, match="itself"):
        embed_file(wide, few, tmp_path / "out.npy", missing_genes=wide, overwrite=True)
    embed_file(
        wide, few, tmp_path / "out.npy", missing_genes=listed, min_coverage=0.1, overwrite=True
    )
    assert len(listed.read_text().split()) == 130 and (tmp_path / "out.npy").exists()


def test_raw_takes_the_place_of_x(model, cells, Z, tmp_path):
    scaled = cells.copy()
    scaled.raw = cells
    scaled = scaled[:, :3].copy()
    scaled.X = -np.ones(scaled.shape)
    scaled.write_h5ad(tmp_path / "scaled.h5ad")
    embed_file(model, tmp_path / "scaled.h5ad", tmp_path / "out.npy", use_raw=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), Z)
    with pytest.raises(InputError, match="only one matrix can be taken"):
        embed_file(
            model, tmp_path / "scaled.h5ad", tmp_path / "o.npy", use_raw=True, layer="counts"
        )
    cells.to_df().to_csv(tmp_path / "new.csv")
    with pytest.raises(InputError, match="raw was asked for"):
        embed_file(model, tmp_path / "new.csv", tmp_path / "o.npy", use_raw=True)


def test_a_file_without_x_is_told_its_layers(model, cells, Z, tmp_path):
    bare = anndata.AnnData(layers={"counts": cells.X}, obs=cells.obs, var=cells.var)
    bare.write_h5ad(tmp_path / "bare.h5ad")
    with pytest.raises(InputError, match=r"no main matrix.*layer='counts'"):
        embed_file(model, tmp_path / "bare.h5ad", tmp_path / "out.npy")
    embed_file(model, tmp_path / "bare.h5ad", tmp_path / "out.npy", layer="counts")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), Z)


def test_the_input_is_never_the_output(model, new, tmp_path):
    before = new.read_bytes()
    with pytest.raises(InputError, match="itself, and was not changed"):
        embed_file(model, new, tmp_path / "." / "new.h5ad", overwrite=True)
    assert new.read_bytes() == before


def test_a_file_that_is_there_is_kept_unless_told(model, new, tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(InputError, match=r"already exists.*--overwrite"):
        embed_file(model, new, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "mine"
    embed_file(model, new, tmp_path / "out.csv", overwrite=True)
    assert (tmp_path / "out.csv").read_text().startswith("cell,")


@pytest.mark.parametrize(("name", "said"), [
    ("out.h5", "ends in '.h5'.*Did you mean '.h5ad'"), ("out", "ends in 'nothing'"),
])  # fmt: skip
def test_an_unknown_kind_of_output_is_refused_before_the_work(model, new, tmp_path, name, said):
    with pytest.raises(InputError, match=said):
        embed_file(tmp_path / "no model", new, tmp_path / name)


def test_a_layer_of_what_has_none_is_refused(model, cells, tmp_path):
    np.save(tmp_path / "new.npy", cells.X.toarray())
    with pytest.raises(InputError, match=r"layer.*\.npy"):
        embed_file(model, tmp_path / "new.npy", tmp_path / "out.csv", layer="counts")


@pytest.mark.parametrize("key", ["", "a/b"])
def test_a_key_that_no_file_can_hold_is_refused(model, new, tmp_path, key):
    with pytest.raises(InputError, match="key_added"):
        embed_file(model, new, tmp_path / "out.h5ad", key_added=key)


def test_one_new_cell_is_enough(model, cells, Z, tmp_path):
    cells[7].to_df().to_csv(tmp_path / "one.csv")
    embed_file(model, tmp_path / "one.csv", tmp_path / "out.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), Z[7:8])
