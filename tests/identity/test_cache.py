"""The memory of checked tokens."""

from __future__ import annotations

from cyclades_tx.identity.cache import TokenCache
from cyclades_tx.identity.tokens import hash_of
from cyclades_tx.model.who import Who


def who(user: str = "u", project: str = "p") -> Who:
    """Somebody."""
    return Who(user, user, project, project, frozenset({"member"}))


def put(cache: TokenCache, name: str, person: Who | None = None, until: float = 10.0) -> bytes:
    """Remember a person under a token's name."""
    cache.put(hash_of(name), person or who(), until, cache.generation)
    return hash_of(name)


def test_an_answer_ends_with_its_time() -> None:
    """It is there before, not at the moment itself."""
    cache = TokenCache(10)
    key = put(cache, "a", until=10.0)
    assert cache.get(key, 9.9) == who()
    assert cache.get(key, 10.0) is None
    assert len(cache) == 0


def test_the_least_recently_used_goes_first() -> None:
    """Asking keeps an answer."""
    cache = TokenCache(2)
    first, second = put(cache, "a"), put(cache, "b")
    cache.get(first, 0)
    put(cache, "c")
    assert cache.get(second, 0) is None
    assert cache.get(first, 0) is not None


def test_no_memory_at_all_is_possible() -> None:
    """With room for none, nothing is kept."""
    cache = TokenCache(0)
    assert cache.get(put(cache, "a"), 0) is None


def test_one_token_is_forgotten_by_its_hash() -> None:
    """The others stay."""
    cache = TokenCache(10)
    first, second = put(cache, "a"), put(cache, "b")
    cache.forget(first.hex())
    assert cache.get(first, 0) is None
    assert cache.get(second, 0) is not None


def test_a_user_s_tokens_are_forgotten_together() -> None:
    """Those of others stay."""
    cache = TokenCache(10)
    first, second = put(cache, "a", who("u1")), put(cache, "b", who("u2"))
    cache.forget("user:u1")
    assert cache.get(first, 0) is None
    assert cache.get(second, 0) is not None


def test_a_project_s_tokens_are_forgotten_together() -> None:
    """Those of others stay."""
    cache = TokenCache(10)
    first, second = put(cache, "a", who("u", "p1")), put(cache, "b", who("u", "p2"))
    cache.forget("project:p1")
    assert cache.get(first, 0) is None
    assert cache.get(second, 0) is not None


def test_news_that_nobody_understands_forgets_everything() -> None:
    """Too little is better than too much."""
    for news in ("all", "", "user:", "something:else"):
        cache = TokenCache(10)
        key = put(cache, "a")
        cache.forget(news)
        assert cache.get(key, 0) is None, news


def test_an_answer_older_than_the_news_is_not_kept() -> None:
    """Somebody read the database, then heard that it changed."""
    cache = TokenCache(10)
    before = cache.generation
    cache.forget("user:u")
    cache.put(hash_of("a"), who(), 10.0, before)
    assert cache.get(hash_of("a"), 0) is None
