"""The words of the house: events and actions are frozen, tagged, complete and survive the journal."""

from __future__ import annotations

import inspect
import typing
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosignal.domain import (
    actions,
    events,
    instrument,
    market,
    order,
    outcome,
    position,
    signal,
)
from cryptosignal.domain.scan import ScanRows
from cryptosignal.store.runs import JournalLine

EVENTS = typing.get_args(events.Event)
ACTIONS = typing.get_args(actions.Action)
MODULES = (actions, events, instrument, market, order, outcome, position, signal)
STRUCTS = sorted(
    {
        value
        for module in MODULES
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, msgspec.Struct)
        and value.__module__.startswith("cryptosignal.domain")
    },
    key=lambda value: value.__name__,
)


def broken(kinds):
    """Which of these Structs can be changed after they were made."""
    return [kind.__name__ for kind in kinds if not kind.__struct_config__.frozen]


def defined(module, base):
    """All tagged words that a module defines."""
    return {
        v
        for v in vars(module).values()
        if inspect.isclass(v) and issubclass(v, base) and v is not base and v.__module__ == module.__name__
    }  # fmt: skip


def test_all_words_are_frozen():
    """No event, action or value of the domain can be changed after it was made."""
    assert len(STRUCTS) > 40
    assert broken(STRUCTS) == []
    assert ScanRows.__dataclass_params__.frozen


def test_frozen_check_bites():
    """A word that can be changed is found."""

    class Loose(msgspec.Struct):
        a: int = 1

    assert broken([Loose]) == ["Loose"]


def test_words_need_no_garbage_collection():
    """Events and actions are outside the garbage collector: they hold no cycles, ever."""
    assert [k.__name__ for k in (*EVENTS, *ACTIONS) if k.__struct_config__.gc] == []


def test_no_word_is_forgotten():
    """Every event and action that is defined is in its union, under its own name as tag."""
    assert defined(events, events._Event) == set(EVENTS)
    assert defined(actions, actions._Action) == set(ACTIONS)
    for kind in (*EVENTS, *ACTIONS):
        assert kind.__struct_config__.tag == kind.__name__


def test_money_events_are_events():
    """What is kept for ever is a part of what is taken, without repeats."""
    assert set(events.MONEY_EVENTS) < set(EVENTS)
    assert len(events.MONEY_EVENTS) == len(set(events.MONEY_EVENTS))


def test_money_events_hold_no_float():
    """Money is Decimal on disk: no money event has a float anywhere in it (JSON has no NaN)."""

    def floats(info, path):
        if isinstance(info, msgspec.inspect.FloatType):
            yield path
        if isinstance(info, msgspec.inspect.StructType):
            for field in info.fields:
                yield from floats(field.type, f"{path}.{field.name}")
        for name in ("item_type", "value_type", "key_type"):
            if hasattr(info, name):
                yield from floats(getattr(info, name), path)
        for option in getattr(info, "types", ()):
            yield from floats(option, path)

    found = [
        p for k in events.MONEY_EVENTS for p in floats(msgspec.inspect.type_info(k), k.__name__)
    ]
    assert found == []


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=8)


def values(info):
    """A strategy for any type that words are made of, read from its annotations."""
    inspected = msgspec.inspect
    plain = {
        inspected.IntType: st.integers(-(2**62), 2**62),
        inspected.FloatType: st.floats(allow_nan=False, allow_infinity=False),
        inspected.StrType: TEXT,
        inspected.BoolType: st.booleans(),
        inspected.NoneType: st.none(),
        inspected.DecimalType: DECIMALS,
    }
    if type(info) in plain:
        return plain[type(info)]
    if isinstance(info, inspected.EnumType):
        return st.sampled_from(list(info.cls))
    if isinstance(info, inspected.UnionType):
        return st.one_of([values(option) for option in info.types])
    if isinstance(info, inspected.VarTupleType):
        return st.lists(values(info.item_type), max_size=2).map(tuple)
    if isinstance(info, inspected.DictType):
        return st.dictionaries(TEXT, values(info.value_type), max_size=2)
    if isinstance(info, inspected.StructType):
        return st.builds(info.cls, **{f.name: values(f.type) for f in info.fields})
    raise AssertionError(f"no way to make a {info}")


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=25)
def test_every_event_survives_the_journal(kind, data):
    """Every event can be made from its annotations and comes back equal from JSON and MessagePack."""
    event = data.draw(values(msgspec.inspect.type_info(kind)))
    line = JournalLine(1, 2, 3, event)
    for codec in (msgspec.json, msgspec.msgpack):
        back = codec.decode(codec.encode(line), type=JournalLine)
        assert back == line
        assert type(back.event) is kind
    assert msgspec.json.decode(msgspec.json.encode(event), type=events.Event) == event


def test_decimals_keep_their_digits():
    """The trailing zeros of a quantity survive: they are the venue's step."""
    seen = events.TradeSeen("S", "c", 1, order.Side.BUY, Decimal("0.1000"), Decimal("1E+3"), 1, 2)
    back = msgspec.json.decode(msgspec.json.encode(seen), type=events.Event)
    assert str(back.quantity) == "0.1000"
    assert str(back.price) == "1E+3"
