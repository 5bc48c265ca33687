"""Files and folders appear whole or not at all, whatever stops the process."""

import pytest

from cellglass import outputs
from cellglass.errors import InputError
from cellglass.outputs import (
    as_path,
    exchange,
    recover_leftovers,
    scratch_beside,
    write_whole,
)


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


def test_no_link_leads_a_write_elsewhere(tmp_path):
    outside = tmp_path / "precious"
    outside.write_text("mine")
    work = tmp_path / "work"
    work.mkdir()
    for name in (".m.partial", "m"):
        (work / name).symlink_to(outside)
    write_whole(work / "m", b"new")
    assert outside.read_text() == "mine"
    assert (work / "m").read_bytes() == b"new" and not (work / "m").is_symlink()
    assert [p.name for p in work.iterdir()] == ["m"]


def test_an_old_folder_that_is_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    outside, out, scratch = (tmp_path / name for name in ("pictures", "out", "scratch"))
    for folder in (outside, out, scratch / "fresh" / "figures"):
        folder.mkdir(parents=True)
    (outside / "holiday.png").write_text("mine")
    (out / "figures").symlink_to(outside)
    exchange(out, scratch / "fresh", ["figures"], scratch, keep=lambda path: True)
    assert (outside / "holiday.png").read_text() == "mine"
    assert not (out / "figures").is_symlink() and not list((out / "figures").iterdir())


def test_leftovers_that_are_links_are_left_alone(tmp_path):
    outside, out = tmp_path / "outside" / "d", tmp_path / "out"
    outside.mkdir(parents=True)
    (outside / "c.txt").write_text("mine")
    own = out / f"{outputs._scratch_prefix(out)}own"
    own.mkdir(parents=True)
    (own / "old").symlink_to(outside)
    for folder in (out, tmp_path):
        (folder / f"{outputs._scratch_prefix(out)}link").symlink_to(outside.parent)
    recover_leftovers(out)
    assert (outside / "c.txt").read_text() == "mine" and not own.exists()
    assert [p.name.endswith("link") for p in out.iterdir()] == [True]


def test_files_half_written_are_not_brought_back(tmp_path):
    made = (
        tmp_path / "out" / f"{outputs._scratch_prefix(tmp_path / 'out')}x" / "made" / "models"
    )
    made.mkdir(parents=True)
    (made / ".m.safetensors.partial").write_text("half")
    recover_leftovers(tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.partial"))


@pytest.mark.parametrize(("value", "words"), [(3, "path is 3, of type int"), (None, "None")])
def test_what_is_no_path_is_refused(value, words):
    with pytest.raises(InputError, match=words):
        as_path(value, "path")


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
