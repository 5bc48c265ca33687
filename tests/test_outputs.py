"""Files and folders appear whole or not at all, whatever stops the process."""

import pytest

from cellglass import outputs
from cellglass.errors import InputError
from cellglass.outputs import exchange, recover_leftovers, scratch_beside, write_whole


class Killed(BaseException):
    pass


def test_a_file_is_replaced_and_its_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["file/below", "x" * 250], ids=["below a file", "long"])
def test_a_place_that_cannot_be_written_is_told(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="could not be written"):
        write_whole(tmp_path / name, b"content")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def kill_in_exchange(tmp_path, monkeypatch, at):
    """Leave a folder as a kill in the middle of an exchange does: nothing is put back."""
    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)
    for name in ("a", "b", "mine", "figures/old", "figures/mine"):
        (out / name).write_text("before")
    scratch = out / f"{outputs._scratch_prefix(out)}killed"
    fresh = scratch / "fresh"
    (fresh / "figures").mkdir(parents=True)
    for name in ("a", "b", "figures/new"):
        (fresh / name).write_text("after")
    path_type, moves = type(tmp_path), []
    rename = path_type.rename

    def count(source, target):
        moves.append(source)
        if len(moves) > at:
            raise Killed
        return rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(path_type, "rename", count)
        with pytest.raises(Killed):
            exchange(
                out, fresh, ("a", "figures", "b"), scratch, keep=lambda p: p.name == "mine"
            )
    return out


@pytest.mark.parametrize("at", range(7))
def test_after_a_kill_in_an_exchange_no_file_is_missing(tmp_path, monkeypatch, at):
    out = kill_in_exchange(tmp_path, monkeypatch, at)
    recover_leftovers(out)
    there = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert {"a", "b", "mine", "figures/mine"} <= there
    assert "figures/old" in there or "figures/new" in there
    assert (out / "figures" / "mine").read_text() == "before"
    assert not [p for p in out.iterdir() if p.name.startswith(".")]


def test_what_another_output_has_in_the_making_is_left_alone(tmp_path):
    with scratch_beside(tmp_path / "report-2") as scratch:
        recover_leftovers(tmp_path / "report")
        assert scratch.is_dir()
        recover_leftovers(tmp_path / "report-2")
        assert not scratch.exists()
