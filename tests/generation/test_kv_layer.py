"""A cache's layer with room at its end holds what transformers' own holds, and copies less."""

import weakref

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.cache_utils import DynamicLayer

from zephyrctl.generation.kv_layer import RoomyLayer


def columns(count: int, *, rows: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rows, 2, count, 4), torch.randn(rows, 2, count, 4)


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from([1, 1, 1, 5, 70])),
        st.tuples(st.just("cut"), st.integers(1, 3)),
        st.tuples(st.just("keep rows"), st.integers(1, 3)),
        st.tuples(st.just("pad"), st.integers(1, 4)),
        st.tuples(st.just("reset"), st.just(0)),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(changes=CHANGES)
def test_whatever_happens_to_it_it_holds_what_its_parent_holds(
    changes: list[tuple[str, int]],
) -> None:
    torch.manual_seed(0)
    ours, theirs = RoomyLayer(), DynamicLayer()
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    rows = 3
    for what, count in [("add", 4), *changes, ("add", 1)]:
        for layer in (ours, theirs):
            if what == "cut" and layer.get_seq_length() > count:
                layer.crop(-count)
            elif what == "keep rows" and layer.get_seq_length():
                layer.reorder_cache(torch.arange(min(rows, count)))
            elif what == "pad" and layer.get_seq_length():
                layer.keys = torch.nn.functional.pad(layer.keys, (0, 0, count, 0))
                layer.values = torch.nn.functional.pad(layer.values, (0, 0, count, 0))
            elif what == "reset":
                layer.reset()
        if theirs.get_seq_length():
            rows = theirs.keys.shape[0]
        if what == "add":
            new = columns(count, rows=rows)
            got = ours.update(*new)
            assert [each.tolist() for each in got] == [x.tolist() for x in theirs.update(*new)]
            seen.append((got[0], got[0].clone()))
        assert ours.get_seq_length() == theirs.get_seq_length()
        assert ours.get_mask_sizes(2) == theirs.get_mask_sizes(2)
    assert ours.keys.tolist() == theirs.keys.tolist()
    assert ours.values.tolist() == theirs.values.tolist()
    for given_out, copy in seen:
        assert torch.equal(given_out, copy), "what was given out is never written over"


def test_a_store_goes_with_the_keys_it_was_made_for() -> None:
    layer = RoomyLayer()
    layer.update(*columns(5))
    stores = [weakref.ref(each.untyped_storage()) for each in (layer.keys, layer.values)]
    assert None not in [store() for store in stores]
    layer.reorder_cache(torch.tensor([1]))
    assert [store() for store in stores] == [None, None]


def test_new_columns_are_put_behind_those_that_are_there() -> None:
    layer = RoomyLayer()
    layer.update(*columns(5))
    places = set()
    for _ in range(60):
        keys, values = layer.update(*columns(1))
        places.add((keys.data_ptr(), values.data_ptr()))
    assert layer.get_seq_length() == 65
    assert len(places) == 1
