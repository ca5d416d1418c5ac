"""Files of profiles: names and their folder, and that no file of anyone's does more than be refused."""

import base64
import json
import os
import random
import re
import sys
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from safetensors import safe_open

from spectral_forecast import Profile, make_plan, schedules
from spectral_forecast.forecasters import profile_file, profile_folder

STEPS = 6
NAME = "gram_lower_triangle"
MUTATIONS = 12 * settings.default.max_examples  # of each format


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of named profiles, which is not there yet."""
    monkeypatch.setenv(profile_folder.VARIABLE, str(tmp_path / "of mine" / "profiles"))
    return tmp_path / "of mine" / "profiles"


def profile(steps=STEPS, **noted):
    run = np.random.default_rng(0).normal(size=(steps, 50)).cumsum(axis=0)
    return Profile.from_runs([run], **noted)


def same(one, other):
    arrays = np.array_equal(one.gram, other.gram) and np.array_equal(one.times, other.times)
    return arrays and (one.ridge, one.settings, one.digest) == (other.ridge, other.settings, other.digest)


def loaded(file):
    """The profile in a file; None where it is refused in the one way that a file may be."""
    try:
        return Profile.load(file)
    except ValueError as error:
        if "holds no profile" not in str(error):
            raise
        return None


def headed(head, raw=b""):
    """A safetensors file of this header and these bytes."""
    content = json.dumps(head).encode()
    return len(content).to_bytes(8, "little") + content + raw


def signed(notes, raw):
    """A safetensors file of these notes and numbers whose digest is right."""
    notes = notes | {"sha256": profile_file._digest(raw, notes)}
    entry = {"dtype": "F64", "shape": [len(raw) // 8], "data_offsets": [0, len(raw)]}
    return headed({"__metadata__": notes, NAME: entry}, raw)


@contextmanager
def peak_below(most):
    """Check that a block takes fewer bytes than this at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def parts(one):
    """The notes and the numbers of a profile's file."""
    notes = {"times": json.dumps(one.times.tolist()), "ridge": repr(one.ridge)}
    return notes | {"settings": json.dumps(one.settings)}, one.gram[np.tril_indices(len(one.gram))].tobytes()


def test_a_name_stands_for_a_file_in_the_folder(folder):
    one = profile(model="toy")
    assert one.save("flux-50.v2") == folder / "flux-50.v2.safetensors"
    assert same(Profile.load("flux-50.v2"), one)
    assert profile_folder.names() == ["flux-50.v2"]
    assert [path.name for path in folder.iterdir()] == ["flux-50.v2.safetensors"]


def test_where_a_name_has_no_profile_the_names_that_have_are_told(folder, tmp_path):
    def refusal(path, file):
        with pytest.raises(ValueError, match="holds no profile: ") as caught:
            Profile.load(path)
        start = f"`path` {file} holds no profile: there is no such file. Write a file that `Profile.save` made."
        assert str(caught.value).startswith(start)
        return str(caught.value).removeprefix(start)

    missing = folder / "flux-30.safetensors"
    assert refusal("flux-30", missing) == ""
    for name in ("wan", "flux-50"):
        profile().save(name)
    assert refusal("flux-30", missing) == " There are profiles of these names: flux-50, wan."
    assert refusal(tmp_path / "flux-30.json", tmp_path / "flux-30.json") == ""


def test_a_path_stays_a_path(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = profile()
    for path in ("a.safetensors", "a.json", "./b", Path("c"), str(tmp_path / "d")):
        assert one.save(path) == Path(path)
        assert same(Profile.load(path), one)
        assert Path(path).is_file()
    assert not folder.exists()
    with pytest.raises(FileNotFoundError):
        one.save("nowhere/a.json")


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-x", "a b", "a\n", "ä", "a:b", "C:", "~", "a" * 101, "a\0"]
)
def test_no_name_leads_out_of_the_folder(folder, name):
    message = (
        f'`path` is {name!r}; write a name of letters, digits, ".", "-" and "_", or a path that ends in '
        ".safetensors or .json."
    )
    for call in (profile().save, Profile.load):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call(name)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", None, "home/.local/share/spectral_forecast/profiles"),
        ("linux", ("XDG_DATA_HOME", "data"), "data/spectral_forecast/profiles"),
        ("linux", ("XDG_DATA_HOME", None), "home/.local/share/spectral_forecast/profiles"),
        ("darwin", ("XDG_DATA_HOME", "data"), "home/Library/Application Support/spectral_forecast/profiles"),
        ("win32", ("LOCALAPPDATA", "data"), "data/spectral_forecast/profiles"),
        ("win32", None, "home/AppData/Local/spectral_forecast/profiles"),
        ("linux", (profile_folder.VARIABLE, "data"), "data"),
    ],
)
def test_the_folder_is_the_platforms(tmp_path, monkeypatch, platform, variable, expected):
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", profile_folder.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "platform", platform)
    if variable is not None:
        name, value = variable
        monkeypatch.setenv(name, "not/absolute" if value is None else str(tmp_path / value))
    assert profile_folder.folder() == tmp_path / expected


@pytest.mark.parametrize("path", ["a/b", "a\\b"])
def test_both_slashes_make_a_path_on_windows(monkeypatch, path):
    monkeypatch.setattr(os, "sep", "\\")
    assert profile_folder.place(path) == Path(path)


def mutated(content, draw):
    """Content with a few changes of the kinds that disks, transfers and people make."""
    content = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        start, length = draw.randrange(len(content) + 1), draw.randrange(1, 40)
        what = draw.randrange(7)
        if what == 0 and start < len(content):
            content[start] ^= 1 << draw.randrange(8)
        elif what == 1:
            content[start : start + 1] = draw.randbytes(1)
        elif what == 2:
            del content[start:]
        elif what == 3:
            del content[start : start + length]
        elif what == 4:
            content[start:start] = draw.randbytes(length)
        elif what == 5:
            content[start:start] = content[start : start + length]
        else:
            content[start : start + 1] = draw.choice([b"{", b"[" * 9, b'"', b",", b"1e999", b"NaN", b"\xff" * 8, b"\0"])
    return bytes(content)


@pytest.mark.parametrize("ending", [".safetensors", ".json"])
def test_a_file_that_has_changed_is_refused(tmp_path, ending):
    one, draw = profile(model="toy", scheduler="euler"), random.Random(0)
    file = one.save(tmp_path / f"whole{ending}")
    whole, other, refused = file.read_bytes(), tmp_path / f"changed{ending}", 0
    assert same(loaded(file), one)
    for _ in range(MUTATIONS):
        other.write_bytes(mutated(whole, draw))
        found = loaded(other)
        refused += found is None
        # White space in JSON may change, and the order of its names.
        assert found is None or same(found, one)
    assert refused > 0.97 * MUTATIONS


def test_a_file_made_to_harm_gives_a_profile_or_is_refused(tmp_path):
    """With right digests, so that every further check has its turn; what is accepted, works."""
    one, draw, file = profile(model="toy"), random.Random(1), tmp_path / "hostile.safetensors"
    notes, raw = parts(one)
    accepted = 0
    for _ in range(MUTATIONS):
        changed, numbers = dict(notes), np.frombuffer(raw).copy()
        name = draw.choice([*notes, "numbers", "sizes"])
        if name == "numbers":
            values = [np.nan, np.inf, -1.0, 1e200, 1e-320, 0.0, draw.gauss(0.0, 1.0)]
            numbers[draw.randrange(numbers.size)] = draw.choice(values)
        elif name == "sizes":
            numbers = np.resize(numbers, draw.randrange(60))
            changed["times"] = json.dumps([float(k) for k in range(draw.randrange(12))])
        else:
            changed[name] = mutated(changed[name].encode(), draw).decode("utf-8", "replace")
        file.write_bytes(signed(changed, numbers.tobytes()))
        found = loaded(file)
        if found is None:
            continue
        accepted += 1
        assert all(text.isprintable() for item in found.settings.items() for text in item)
        if found.times.size == STEPS:
            assert np.isfinite(found.price(schedules.mask(STEPS, [0, 2, 4])))
        if np.array_equal(found.times, one.times):
            assert np.isfinite(make_plan(found, np.arange(STEPS), schedules.mask(STEPS, [0, 2, 4])).weights).all()
    assert 0.01 * MUTATIONS < accepted < 0.7 * MUTATIONS


def hostile():
    """Why a file is refused, its ending, its contents; many would take much memory if they were believed."""
    notes, raw = parts(profile())
    many = "[" + "1," * 10**5 + "1]"
    pickle = b"\x80\x04\x95" + raw
    entry = {"dtype": "F64", "shape": [len(raw) // 8], "data_offsets": [0, len(raw)]}
    odd = entry | {"data_offsets": [0, len(raw) + 1]}
    for size, rest in [(2**63, b"{}"), (10**6, b"[" * 10**6), (100, b"{}")]:
        yield f"its header should have {size} bytes", "safetensors", size.to_bytes(8, "little") + rest
    yield f"its header should have {int.from_bytes(pickle[:8], 'little')} bytes", "safetensors", pickle
    yield "its header should have 0 bytes", "safetensors", b""
    for head in ([], {}, {"__metadata__": {}, NAME: entry | {"dtype": "F32"}}, {"__metadata__": {}, NAME: odd}):
        yield f"its header is not that of one vector `{NAME}`", "safetensors", headed(head, raw)
    yield "it is cut off, or its notes are no texts", "safetensors", headed({"__metadata__": [], NAME: entry}, raw)
    yield "it is cut off, or its notes are no texts", "safetensors", signed(notes, raw + b"\0")
    yield "it does not match its digest: it has", "safetensors", headed({"__metadata__": notes, NAME: entry}, raw)
    yield "its notes are nested too deeply", "safetensors", (2 * 10**5).to_bytes(8, "little") + b"[" * 2 * 10**5
    yield "its notes are nested too deeply", "safetensors", signed(notes | {"settings": "[" * 10**5}, raw)
    yield "its notes have too many parts", "safetensors", signed(notes | {"times": many}, raw)
    yield "its notes are times, ridge, settings, more.", "safetensors", signed(notes | {"more": "x"}, raw)
    yield "its notes are times.", "safetensors", signed({"times": notes["times"]}, raw)
    for noted in ('{"a": 1}', json.dumps({"model": "\x1b[2J"}), json.dumps({"\n": "a"}), '["a"]', "null"):
        why = "its `settings` are no printable texts by name"
        yield why, "safetensors", signed(notes | {"settings": noted}, raw)
    for times in ("{}", "[0, 1, 2, 3, 4, 5]", '["a"]'):
        yield "its `times` are no list of numbers", "safetensors", signed(notes | {"times": times}, raw)
    yield "`times` repeats at index 1 (0, then 0);", "safetensors", signed(notes | {"times": "[0.0, 0.0]"}, raw)
    yield "`ridge` is -1.0; write 0 or more.", "safetensors", signed(notes | {"ridge": "-1"}, raw)
    yield "it has 0 products of 6 steps, of 1000 at most", "safetensors", signed(notes, b"")
    for value in (np.nan, 1e101, -1e-3):  # in the middle of a diagonal that is 0 elsewhere
        numbers = np.array([0.0, 0.0, value, 0.0, 0.0, 0.0]).tobytes()
        why = "its numbers are the inner products of no features"
        yield why, "safetensors", signed(notes | {"times": "[0.0, 1.0, 2.0]"}, numbers)
    encoded = base64.b64encode(raw).decode()
    yield "it has more than the 6291456 bytes of a profile of 1000 steps", "json", b"0" * 7 * 10**6
    yield "Exceeds the limit", "json", b"9" * 10**5
    yield "its notes are nested too deeply", "json", b"[" * 5 * 10**6
    yield "its notes have too many parts", "json", b"[" + b"{}," * 10**6 + b"{}]"
    yield "a name stands twice in it", "json", f'{{"{NAME}": "", "{NAME}": ""}}'.encode()
    for content in ([], {}, {NAME: 1}, {"times": "[]"}):
        yield f"it is no object with a text `{NAME}`", "json", json.dumps(content).encode()
    yield "it is cut off, or its notes are no texts", "json", json.dumps({NAME: encoded, "times": [1.0]}).encode()
    digest = {"sha256": profile_file._digest(raw, notes)}
    yield "Only base64 data is allowed", "json", json.dumps({NAME: "!" + encoded} | notes | digest).encode()


@pytest.mark.parametrize("number", range(sum(1 for _ in hostile())))
def test_a_file_is_refused_for_a_reason_and_takes_little_memory(tmp_path, number):
    why, ending, content = list(hostile())[number]
    file = tmp_path / f"hostile.{ending}"
    file.write_bytes(content)
    message = re.escape(f"`path` {file} holds no profile: {why}")
    with peak_below(4 * profile_file.MOST_BYTES), pytest.raises(ValueError, match=f"^{message}"):
        Profile.load(file)


def test_of_a_large_file_no_more_than_a_profile_is_read(tmp_path):
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(2**26)
    with peak_below(2**25), pytest.raises(ValueError, match="it has more than the 6291456 bytes"):
        Profile.load(tmp_path / "large.json")


@pytest.mark.parametrize("more", [0, 1])
def test_a_file_may_have_as_many_bytes_and_parts_as_are_promised(tmp_path, more):
    one = profile()
    notes, raw = parts(one)
    head = {"__metadata__": notes | {"sha256": profile_file._digest(raw, notes)}, NAME: None}
    head[NAME] = {"dtype": "F64", "shape": [len(raw) // 8], "data_offsets": [0, len(raw)]}
    header = json.dumps(head).encode().ljust(2**18 + more)
    files = {ending: one.save(tmp_path / f"a.{ending}") for ending in ("json", "safetensors")}
    files["safetensors"].write_bytes(len(header).to_bytes(8, "little") + header + raw)
    files["json"].write_bytes(files["json"].read_bytes().ljust(profile_file.MOST_BYTES + more))
    for file in files.values():
        assert (loaded(file) is None) == bool(more)
    commas = profile(model="").save(tmp_path / "b.json").read_bytes().count(b",")
    listed = profile(model="," * (2**13 - commas + more))
    if more:
        with pytest.raises(ValueError, match="its notes have too many parts"):
            listed.save(tmp_path / "c.json")
    else:
        assert same(Profile.load(listed.save(tmp_path / "c.json")), listed)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_of_inner_products_only_what_rounding_leaves_may_be_negative(tmp_path, scale):
    times = np.array([-1.0, 0.0, 1.0])
    for gram in (np.ones((3, 3)), np.zeros((3, 3)), np.diag([1.0, 1.0, -0.9e-5])):
        one = Profile(scale * gram, times)
        assert same(Profile.load(one.save(tmp_path / "a.json")), one)
    for gram in (np.diag([1.0, 1.0, -1.1e-5]), 1.1 - np.eye(3)):
        with pytest.raises(ValueError, match="its numbers are the inner products of no features"):
            Profile(scale * gram, times).save(tmp_path / "b.json")


WRITTEN = (
    '{"gram_lower_triangle": "AAAAAAAA8D8AAAAAAAAAwAAAAAAAABBA", "times": "[-1.0, 1.0]", "ridge": "0.0001", '
    '"settings": "{\\"model\\": \\"toy\\"}", '
    '"sha256": "b0f5f21083e839f6280461e3d2875e9625399d88f4af8555ef28fda576de8868"}'
)


def test_files_once_written_stay_readable(tmp_path):
    one, file = (
        Profile(np.array([[1.0, -2.0], [-2.0, 4.0]]), np.array([-1.0, 1.0]), 1e-4, {"model": "toy"}),
        tmp_path / "a.json",
    )
    assert one.save(file).read_text() == WRITTEN
    # The order of names and white space are no part of what is signed.
    file.write_text(json.dumps(dict(reversed(json.loads(WRITTEN).items())), indent=4))
    assert same(Profile.load(file), one)


@pytest.mark.parametrize("name", ["profile.safetensors", "profile.json"])
def test_files_are_small_and_exact(tmp_path, name):
    one = profile(20, model="toy", scheduler="euler", shift=3.0)
    file = one.save(tmp_path / name)
    assert file.stat().st_size < 4000
    assert same(Profile.load(file), one)
    assert repr(Profile.load(file)) == repr(one)


@pytest.mark.parametrize("length", range(8))
def test_safetensors_itself_reads_them(tmp_path, length):
    one = profile(model="x" * length)
    path = one.save(tmp_path / "profile.safetensors")
    with safe_open(path, framework="numpy") as file:
        assert np.array_equal(file.get_tensor(NAME), one.gram[np.tril_indices(STEPS)])
        assert json.loads(file.metadata()["settings"]) == one.settings
    # The numbers lie at a multiple of eight bytes, as the format recommends.
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0


def test_a_profile_of_50_steps_is_11_kilobytes(tmp_path):
    assert profile(50).save(tmp_path / "profile.safetensors").stat().st_size < 12_000


def test_what_cannot_be_read_is_not_written(tmp_path):
    file = tmp_path / "a.safetensors"
    for one, why in (
        (Profile(np.eye(1001), np.arange(1001.0)), "it has 501501 products of 1001 steps, of 1000 at most"),
        (profile(model="\x1b[2J"), "its `settings` are no printable texts by name"),
        (profile(model="x" * 2**18), "its header should have 262504 bytes"),
        (Profile(-np.eye(3), np.arange(3.0)), "its numbers are the inner products of no features"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(f'`path` {file} cannot hold {one!r}: {why}.')}$"):
            one.save(file)
    assert list(tmp_path.iterdir()) == []
    Profile(np.eye(1000), np.arange(1000.0)).save(tmp_path / "a.json")


def test_a_folder_or_a_missing_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(ValueError, match="there is no such file"):
            Profile.load(path)


def test_a_digest_tells_profiles_apart():
    one = profile(model="toy")
    others = [profile(model="other"), Profile(one.gram, one.times, 0.5, one.settings), profile(7, model="toy")]
    assert len({one.digest, *(other.digest for other in others)}) == 4
    assert one.digest == profile(model="toy").digest
    assert len(repr(profile(model="x" * 1000))) < 200
