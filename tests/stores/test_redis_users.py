"""The index of users lies apart from the records: it is complete, heals, and ends by itself."""

import asyncio

import pytest

from coatcheck.model.ports import Life
from coatcheck.model.record import APPLIED, Create, SignIn, encode
from coatcheck.stores.redis import RedisStore
from coatcheck.testing.contract.harness import Bench
from tests.stores.redis_single import PATIENT, AsyncRedisHarness, RedisHarness

pytestmark = [pytest.mark.servers, pytest.mark.promise("17")]
DAY = 86_400_000


@pytest.fixture(params=[RedisHarness, AsyncRedisHarness], ids=["sync", "async"])
def run(request, redis_port):
    def run(scenario):
        async def at_a_bench():
            async with Bench(request.param(redis_port)) as bench:
                await scenario(bench)

        asyncio.run(at_a_bench())

    return run


def entered(bench, user="ada"):
    """What stands in the index of a user: the keys, and their scores."""
    index = bench.harness.inspector._words.index(user)
    flat = bench.harness.command("ZRANGE", index, 0, -1, "WITHSCORES")
    return {key: int(score) for key, score in zip(flat[::2], flat[1::2], strict=True)}


def left_to(bench, user="ada"):
    return bench.harness.command("PTTL", bench.harness.inspector._words.index(user))


@pytest.mark.promise("F-23")
def test_what_is_gone_leaves_the_index_when_it_is_looked_at(run):
    async def scenario(bench):
        kept, destroyed, vanished, another = [await bench.create(bench.signed_in("ada")) for _ in range(4)]
        await bench.apply(bench.destroy(destroyed))
        bench.harness.command("DEL", bench.harness.name(vanished.key))
        await bench.apply(bench.update(another, sign_in=SignIn("grace")))
        assert set(entered(bench)) == {record.key for record in (kept, destroyed, vanished, another)}
        assert await bench.keys_of("ada") == [kept.key]
        assert set(entered(bench)) == {kept.key}
        assert await bench.keys_of("grace") == [another.key]

    run(scenario)


@pytest.mark.promise("F-23")
def test_what_expired_leaves_the_index_a_minute_later_for_clocks_differ(run):
    async def scenario(bench):
        record = await bench.create(bench.signed_in("ada", expires=bench.start + 1_000))
        assert await bench.keys_of("ada", now=record.expires) == []
        assert set(entered(bench)) == {record.key}
        assert await bench.keys_of("ada", now=record.expires - 1) == [record.key]
        assert await bench.keys_of("ada", now=record.expires + 60_000) == []
        assert entered(bench) == {}

    run(scenario)


@pytest.mark.promise("F-23")
def test_what_can_not_be_read_stays_in_the_index(run):
    async def scenario(bench):
        record = await bench.create(bench.signed_in("ada"))
        newer = b"\2" + encode(record)[1:]
        await bench.harness.plant(record.key, newer)
        assert await bench.keys_of("ada") == []
        # The release that wrote it finds it again.
        await bench.harness.plant(record.key, encode(record))
        assert await bench.keys_of("ada") == [record.key]

    run(scenario)


@pytest.mark.promise("F-23")
def test_healing_never_removes_who_signed_in_meanwhile(redis_port):
    """A sign-in between the look at the record and the removal from the index."""

    class SignsInMeanwhile(RedisStore):
        def _exchange(self, commands, line=None):
            if meanwhile and b"EVAL" in commands[0].data:
                meanwhile.pop()()
            return super()._exchange(commands, line)

    harness = RedisHarness(redis_port)
    meanwhile = []

    async def scenario():
        async with Bench(harness) as bench:
            record = await bench.create(bench.signed_in("ada"))
            await bench.apply(bench.update(record, sign_in=SignIn("grace")))
            store = SignsInMeanwhile(
                harness.inspector._servers, prefix=harness.prefix, deadline=PATIENT["deadline"]
            )

            def sign_in():
                change = bench.update(record, at=bench.start + 5, sign_in=SignIn("ada"))
                assert harness.inspector.apply([change]) == [APPLIED]
                life = Life(record.key, bench.start + 5)
                harness.inspector.enroll("ada", life, bench.start + DAY)

            meanwhile.append(sign_in)
            assert list(store.lives_of("ada", bench.start)) == []
            assert meanwhile == []
            assert await bench.keys_of("ada") == [record.key]
            assert entered(bench) == {record.key: bench.start + 5}

    asyncio.run(scenario())


@pytest.mark.promise("F-14", "F-23")
def test_a_sign_in_whose_process_died_before_the_index_was_never_answered_and_is_no_trouble(run):
    async def scenario(bench):
        record = bench.signed_in("ada")
        await bench.store.apply([Create(record)])  # and no enroll
        assert await bench.keys_of("ada") == []
        later = bench.start + 10
        await bench.apply(bench.update(record, at=later, sign_in=SignIn("ada")))
        assert await bench.lives_of("ada") == [Life(record.key, later)]

    run(scenario)


def test_the_index_only_ever_moves_forward_and_ends_by_itself(run):
    async def scenario(bench):
        key = bench.record().key

        async def enroll(signed_in, expires):
            await bench.store.enroll("ada", Life(key, signed_in), expires)

        await enroll(bench.start + 100, bench.start + 100 + DAY)
        assert DAY - 60_000 < left_to(bench) <= DAY
        await enroll(bench.start, bench.start + 1_000)  # it comes late
        assert entered(bench) == {key: bench.start + 100}
        assert DAY - 60_000 < left_to(bench) <= DAY
        await enroll(bench.start + 200, bench.start + 200 + 2 * DAY)
        assert entered(bench) == {key: bench.start + 200}
        assert 2 * DAY - 60_000 < left_to(bench) <= 2 * DAY

    run(scenario)


def test_the_index_of_a_user_who_signs_in_all_the_time_does_not_grow_for_ever(run):
    async def scenario(bench):
        longest = 3 * DAY
        for number in range(300):
            at = bench.start + number * DAY // 10  # for thirty days
            await bench.store.enroll("ada", Life(number.to_bytes(16, "big"), at), at + longest)
        # Three days' worth, and one for clocks that disagree.
        assert len(entered(bench)) == 41

    run(scenario)


def test_a_user_of_many_sessions_is_found_in_full(run):
    async def scenario(bench):
        records = [bench.signed_in("ada", signed_in=bench.start + number) for number in range(300)]
        await bench.store.apply([Create(record) for record in records])
        for record in records:
            await bench.store.enroll("ada", Life(record.key, record.signed_in), bench.start + DAY)
        gone = records[::3]
        await bench.store.apply([bench.destroy(record) for record in gone])
        lives = [Life(record.key, record.signed_in) for record in records if record not in gone]
        assert await bench.lives_of("ada") == lives[::-1]
        assert len(entered(bench)) == 200

    run(scenario)


def test_the_name_of_a_user_never_stands_in_a_key(run):
    async def scenario(bench):
        for user in ("*", "{x}", "a b\r\n", "x" * 255):
            await bench.create(bench.signed_in(user))
            assert len(await bench.keys_of(user)) == 1
        for name in bench.harness.names():
            tail = name.removeprefix(bench.harness.prefix.encode()).removeprefix(b"user:")
            assert tail.replace(b"-", b"").replace(b"_", b"").isalnum()

    run(scenario)


def test_the_index_holds_no_other_type_of_key_against_anyone(run):
    async def scenario(bench):
        index = bench.harness.inspector._words.index("ada")
        bench.harness.command("SET", index, "not ours", "PX", 60_000)
        with pytest.raises(Exception, match="refused"):
            await bench.lives_of("ada")
        with pytest.raises(Exception, match="refused"):
            await bench.store.enroll("ada", Life(bytes(16), bench.start), bench.start + 1)

    run(scenario)
