"""Listings of directories: one at a time, in the order of keys, and no more than is asked for."""

from itertools import chain, islice

import pytest

from forebay.errors import NotFound
from forebay.testing.under_kit import expected_names, names
from forebay_fsspec.files import UNKNOWN, Entry, moment
from forebay_fsspec.names import Names
from forebay_fsspec.protocols import CONTROLS
from forebay_fsspec.walk import Walk


class Tree:
    """Directories made of keys, which count how often they are listed and looked at."""

    def __init__(self, keys, *, sizes=True):
        self.folders = {"": {}}
        self.listed = []
        self.looked = []
        self.sizes = sizes
        for key in keys:
            *above, last = key.split("/")
            path = ""
            for name in above:
                self.folders[path][name] = True
                path += f"/{name}"
                self.folders.setdefault(path, {})
            self.folders[path][last] = False

    def entry(self, name, is_directory, size):
        return Entry(name, is_directory, 0 if is_directory else size, moment(None), "f")

    def ls(self, path):
        self.listed.append(path)
        if path not in self.folders:
            raise NotFound(path)
        size = 1 if self.sizes else UNKNOWN
        return [self.entry(name, is_dir, size) for name, is_dir in self.folders[path].items()]

    def look(self, paths):
        self.looked.append(list(paths))
        found = []
        for path in paths:
            folder, _, name = path.rpartition("/")
            is_directory = self.folders.get(folder, {}).get(name)
            found.append(None if is_directory is None else self.entry(name, is_directory, 1))
        return found

    def entries(self, prefix="", start_after="", *, descend=True):
        rules = Names(CONTROLS)
        walk = Walk(rules, self.ls, lambda s: "".join(f"/{n}" for n in rules.folders(s)), self.look)
        return walk.entries(prefix, start_after, descend=descend)


KEYS = [f"{a}/{b}/{c}" for a in "xyz" for b in range(3) for c in range(5)] + ["y", "y.txt", "y!"]


@pytest.mark.parametrize("descend", [True, False])
@pytest.mark.parametrize("prefix", ["", "x", "x/", "y/1/", "y/1/3", "no/such/"])
@pytest.mark.parametrize("start_after", ["", "x/1", "x/1/4", "y", "y/", "z/2/4", "zz"])
def test_a_listing_is_what_the_contract_says(prefix, start_after, descend):
    tree = Tree([key for key in KEYS if key != "y"])
    found = names(tree.entries(prefix, start_after, descend=descend))
    keys = [key for key in KEYS if key != "y"]
    assert found == expected_names(keys, prefix, "" if descend else "/", start_after)


def test_the_first_entries_of_a_large_tree_list_only_the_directories_that_lead_to_them():
    tree = Tree([f"{a:03}/{b:03}/{c}" for a in range(50) for b in range(50) for c in range(3)])
    assert names(islice(tree.entries(), 4)) == ["000/000/0", "000/000/1", "000/000/2", "000/001/0"]
    assert tree.listed == ["", "/000", "/000/000", "/000/001"]


def test_a_later_page_lists_only_the_directories_that_lead_to_it():
    tree = Tree([f"{a:03}/{b:03}/{c}" for a in range(50) for b in range(50) for c in range(3)])
    assert names(islice(tree.entries("", "040/020/1"), 2)) == ["040/020/2", "040/021/0"]
    assert tree.listed == ["", "/040", "/040/020", "/040/021"]


def test_a_delimiter_lists_one_directory():
    tree = Tree(KEYS)
    assert names(tree.entries("x/", descend=False)) == ["x/0/", "x/1/", "x/2/"]
    assert tree.listed == ["/x"]


def test_sizes_that_a_listing_does_not_tell_are_asked_for_many_at_a_time():
    tree = Tree([f"d/{n:03}" for n in range(100)], sizes=False)
    assert [one.size for one in tree.entries()] == [1] * 100
    assert max(map(len, tree.looked)) == 16
    assert len(tree.looked) == 7
    assert len(set(chain.from_iterable(tree.looked))) == 100


def test_what_went_while_its_neighbours_were_asked_for_is_left_out():
    tree = Tree([f"d/{n:03}" for n in range(40)], sizes=False)
    listing = tree.entries()
    assert names(islice(listing, 1)) == ["d/000"]
    del tree.folders["/d"]["020"]
    assert "d/020" not in names(listing)


def test_a_directory_that_goes_while_a_listing_is_under_way_is_empty():
    tree = Tree(["a/x", "b/x", "c/x"])
    listing = tree.entries()
    assert names(islice(listing, 1)) == ["a/x"]
    del tree.folders["/b"]
    assert names(listing)[-1] == "c/x"


def test_a_file_that_a_directory_stands_beside_is_listed_by_its_escape():
    tree = Tree(["y/1", ".forebay~f~y", ".forebay~d~%2e%2e/inside", ".forebay~m~ab/.forebay~f~cd"])
    assert names(tree.entries()) == ["../inside", "y", "y/1"]


def test_of_a_large_directory_only_what_is_still_to_come_is_kept():
    tree = Tree([f"d/{n:03}" for n in range(100)] + ["d/x/1"])
    rules = Names(CONTROLS)
    walk = Walk(rules, tree.ls, lambda s: "".join(f"/{n}" for n in rules.folders(s)), tree.look)
    kept = walk.children("/d", at_root=False, partial="09", seek="095")
    assert sorted(kept) == [f"{n:03}" for n in range(95, 100)]
    assert [found.path for found in kept.values()] == [f"/d/{name}" for name in kept]
