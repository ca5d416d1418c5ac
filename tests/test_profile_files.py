"""Files of profiles: names and their folder, and that no file of anyone's does more than be refused."""

import base64
import json
import random
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from spectral_forecast import Profile, make_plan, schedules
from spectral_forecast.forecasters import profile_file, profile_folder

STEPS = 6
MUTATIONS = 6000  # of each format


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of named profiles, which is not there yet."""
    monkeypatch.setenv(profile_folder.VARIABLE, str(tmp_path / "of mine" / "profiles"))
    return tmp_path / "of mine" / "profiles"


def profile(steps=STEPS, **settings):
    run = np.random.default_rng(0).normal(size=(steps, 50)).cumsum(axis=0)
    return Profile.from_runs([run], **settings)


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


def signed(notes, raw):
    """A safetensors file of these notes and numbers whose digest is right."""
    notes = notes | {"sha256": profile_file._digest(raw, notes)}
    entry = {"dtype": "F64", "shape": [len(raw) // 8], "data_offsets": [0, len(raw)]}
    head = json.dumps({"__metadata__": notes, "gram_lower_triangle": entry}).encode()
    return len(head).to_bytes(8, "little") + head + raw


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
    with pytest.raises(ValueError, match=r"holds no profile: there is no such file.*of these names: flux-50\.v2"):
        Profile.load("flux-30")


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
    for call in (profile().save, Profile.load):
        with pytest.raises(ValueError, match=r"`path` is .*; write a name of letters"):
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
    for _ in range(MUTATIONS):
        other.write_bytes(mutated(whole, draw))
        found = loaded(other)
        refused += found is None
        # White space in JSON may change, and the order of its names.
        assert found is None or same(found, one)
    assert 0.97 * MUTATIONS < refused < MUTATIONS


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
    """Contents, each with the ending of its file, that would take much if they were believed."""
    notes, raw = parts(profile())
    many = json.dumps(list(map(float, range(10**5))))
    yield "safetensors", (2**63).to_bytes(8, "little") + b"{}"
    yield "safetensors", (10**6).to_bytes(8, "little") + b"[" * 10**6
    yield "safetensors", (2 * 10**5).to_bytes(8, "little") + b"[" * 2 * 10**5
    yield "safetensors", signed(notes | {"times": many}, raw)
    yield "safetensors", signed(notes | {"settings": "[" * 10**5}, raw)
    yield "safetensors", signed(notes | {"settings": '{"a": 1}'}, raw)
    yield "safetensors", signed(notes | {"settings": json.dumps({"model": "\x1b[2J"})}, raw)
    yield "safetensors", signed(notes | {"more": "x"}, raw)
    yield "safetensors", signed({"times": notes["times"]}, raw)
    yield "safetensors", b"\x80\x04\x95" + raw  # a pickle
    yield "safetensors", b""
    yield "json", b"[" * 5 * 10**6
    yield "json", b"[" + b"{}," * 10**6 + b"{}]"
    yield "json", b"0" * 7 * 10**6
    yield "json", json.dumps({"gram_lower_triangle": base64.b64encode(raw).decode(), "times": [1.0]}).encode()
    yield "json", b'{"gram_lower_triangle": "", "gram_lower_triangle": ""}'
    yield "json", b"9" * 10**5


@pytest.mark.parametrize("number", range(17))
def test_no_file_takes_much_memory(tmp_path, number):
    ending, content = list(hostile())[number]
    (tmp_path / f"hostile.{ending}").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="holds no profile"):
            Profile.load(tmp_path / f"hostile.{ending}")
        assert tracemalloc.get_traced_memory()[1] < 4 * profile_file.MOST_BYTES
    finally:
        tracemalloc.stop()


def test_what_cannot_be_read_is_not_written(tmp_path):
    file = tmp_path / "a.safetensors"
    large = Profile(np.eye(1001), np.arange(1001.0))
    for one in (large, profile(model="\x1b[2J"), profile(model="x" * 2**18), Profile(-np.eye(3), np.arange(3.0))):
        with pytest.raises(ValueError, match=r"a\.safetensors cannot hold <Profile of"):
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
