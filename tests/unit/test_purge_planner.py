"""The planner of purges: few calls, no file forgotten, nothing purged that was not allowed."""

from __future__ import annotations

from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.api.purging import may_purge
from worker.purge.planner import Purge, PurgeFile, plan
from worker.purge.wildcards import folder_of, folders_above, may_purge_below, may_purge_variants

SITE = "https://ik.imagekit.io/simulator"
folders = st.lists(st.sampled_from("abc"), max_size=3).map(lambda names: "".join(f"/{name}" for name in names))
urls = st.builds(lambda folder, name: f"{SITE}{folder}/{name}.jpg", folders, st.sampled_from("xyz"))
libraries = st.lists(urls, min_size=1, max_size=8)


def covered_by(purge: Purge, url: str) -> bool:
    return url.startswith(purge.url[:-1]) if purge.url.endswith("*") else url == purge.url


def planned(library: list[str], coverable: set[str]) -> list[Purge]:
    return plan([PurgeFile(url, f"{number} r") for number, url in enumerate(library)], coverable)


@given(libraries, st.data())
def test_a_plan_covers_every_file_once_and_nothing_else(library: list[str], data: st.DataObject) -> None:
    """A wildcard covers copies of its own file, or a folder that may be covered; calls are in the files' order."""
    above = sorted({folder for url in library for folder in folders_above(url)})
    coverable = data.draw(st.sets(st.sampled_from(above)))
    purges = planned(library, coverable)
    assert sorted(chain.from_iterable(purge.entries for purge in purges)) == sorted(
        f"{number} r" for number in range(len(library))
    )
    for purge in purges:
        assert all(covered_by(purge, library[int(entry.split()[0])]) for entry in purge.entries)
        if purge.url.endswith("/*"):
            assert purge.url[:-1] in coverable
        elif purge.url.endswith("*"):
            assert purge.url[:-1] in library
    firsts = [min(int(entry.split()[0]) for entry in purge.entries) for purge in purges]
    assert firsts == sorted(firsts)


@given(st.lists(urls, min_size=1, max_size=5), st.data())
def test_no_plan_has_fewer_calls(library: list[str], data: st.DataObject) -> None:
    """Of all sets of URLs and allowed wildcards that cover the files, none is smaller."""
    above = sorted({folder for url in library for folder in folders_above(url)})
    coverable = data.draw(st.sets(st.sampled_from(above)))
    options = [Purge(url, []) for url in sorted(set(library))] + [Purge(f"{each}*", []) for each in sorted(coverable)]
    fewest = next(
        count
        for count in range(1, len(options) + 1)
        for some in combinations(options, count)
        if all(any(covered_by(purge, url) for purge in some) for url in library)
    )
    assert len(planned(library, coverable)) == fewest


@given(urls)
def test_no_wildcard_is_planned_that_the_vendor_refuses(url: str) -> None:
    """What our rules allow, the vendor's rules as the simulator has them allow too."""
    if may_purge_below(folder_of(url), [SITE]):
        assert may_purge(f"{folder_of(url)}*")
    if may_purge_variants(url):
        assert may_purge(f"{url}*")


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [
        (f"{SITE}/", False),
        (f"{SITE}/a/", False),
        (f"{SITE}/a/b/", True),
        (f"{SITE}/a-long-folder/", True),
        (f"{SITE}/media/catalog/", False),
        (f"{SITE}/s/files/", False),
        (f"{SITE}/media/catalog/x/", True),
        ("https://img.example.com/a/", False),
        ("https://img.example.com/a/b/", True),
        ("https://img.example.com/pattern/a/", False),
    ],
)
def test_which_folders_a_wildcard_may_cover(folder: str, allowed: bool) -> None:
    """Two levels or 15 characters below the endpoint; some folders never."""
    endpoints = ["https://img.example.com/pattern"] if "pattern" in folder else []
    assert may_purge_below(folder, endpoints) is allowed
