"""How a topic exchange chooses: ``*`` is one word, ``#`` any number of them."""

from __future__ import annotations


def matches(pattern: str, routing_key: str) -> bool:
    """Whether a binding's pattern wants a message with this routing key.

    >>> matches("ganeti.*.event.#", "ganeti.snf.event.op")
    True
    """
    # The positions in the pattern at which the words so far could have brought us.
    words = pattern.split(".") if pattern else []
    places = _through({0}, words)
    for word in routing_key.split(".") if routing_key else []:
        reached = set()
        for place in places:
            if place < len(words):
                if words[place] == "#":
                    reached.add(place)
                elif words[place] in ("*", word):
                    reached.add(place + 1)
        places = _through(reached, words)
    return len(words) in places


def _through(places: set[int], words: list[str]) -> set[int]:
    """These places, and those behind each ``#``, which may stand for no word."""
    found = set(places)
    for place in range(len(words)):
        if place in found and words[place] == "#":
            found.add(place + 1)
    return found
