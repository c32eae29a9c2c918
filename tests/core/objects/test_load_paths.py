"""What a load job is about, from wherever it goes on."""

import pytest

from forebay.catalog import catalog, keys
from forebay.catalog.records import Load
from forebay.objects import load_paths
from forebay.objects.load_paths import LoadPaths
from forebay.streams import BytesReader
from forebay.types import Attributes

KEYS = ["a", "a/1", "a/2", "a/deep/3", "ab", "b"]


@pytest.fixture
def paths(opened):
    for key in KEYS:
        opened.raw.put(f"bucket/{key}", BytesReader(b"x"), size=1, attributes=Attributes())
    forebay = opened.forebay
    return LoadPaths(forebay.loading._shared, forebay.buckets, forebay.listings)


def given(paths, load, after=""):
    return [path for _, path in paths.of(load, after)]


@pytest.mark.parametrize("at_once", [1, 2, 1000])
@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("s3://bucket", KEYS),
        ("s3://bucket/a", ["a", "a/1", "a/2", "a/deep/3"]),
        ("s3://bucket/a/", ["a/1", "a/2", "a/deep/3"]),
        ("s3://bucket/ab", ["ab"]),
        ("s3://bucket/none", []),
        ("s3://", KEYS),
    ],
)
def test_it_goes_on_behind_every_path(opened, paths, monkeypatch, path, found, at_once):
    monkeypatch.setattr(load_paths, "LISTED", at_once)
    load = load_of(opened, opened.forebay.loads.begin(path))
    wanted = [f"s3://bucket/{key}" for key in found]
    assert given(paths, load) == wanted
    for place, after in enumerate(wanted, 1):
        assert given(paths, load, after) == wanted[place:]


@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_a_list_goes_on_behind_every_place(opened, paths, monkeypatch, at_once):
    monkeypatch.setattr(load_paths, "LISTED", at_once)
    loads = opened.forebay.loads
    job = loads.begin_list()
    wanted = [f"s3://bucket/{key}" for key in reversed(KEYS)]
    loads.add(job.id, wanted, last=True)
    load = load_of(opened, job)
    listed = list(paths.of(load, ""))
    assert [path for _, path in listed] == wanted
    for place, (after, _) in enumerate(listed, 1):
        assert list(paths.of(load, after)) == listed[place:]


def load_of(opened, job):
    return opened.forebay.catalog.read(lambda s: catalog.get(s, keys.load_row(job.id), Load))
