"""Timeline: what it records, and the picture it makes of it."""

import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import attrs
import pytest
import trio

import trioauth
from trioauth import events
from trioauth.testing import AuthServer
from trioauth.timeline import Timeline
from trioauth.watch._picture import Picture, compose
from trioauth.watch._svg import _Axis
from trioauth.watch._svg_style import LEGEND

pytestmark = pytest.mark.usefixtures("autojump_clock")


SVG = "{http://www.w3.org/2000/svg}"


def started(
    time: float, flight: int = 1, cause: events.RefreshCause = "clock", generation: int = 1
) -> events.RefreshStarted:
    return events.RefreshStarted(time=time, flight=flight, cause=cause, generation=generation)


def landed(
    time: float, flight: int = 1, generation: int = 2, adopted: bool = False
) -> events.RefreshLanded:
    return events.RefreshLanded(time=time, flight=flight, generation=generation, adopted=adopted)


def failed(time: float, flight: int = 1) -> events.RefreshFailed:
    return events.RefreshFailed(time=time, flight=flight, error="TooSlowError", retry_at=time + 5)


def waits(time: float, task: str = "a", flight: int = 1) -> events.WaitStarted:
    return events.WaitStarted(time=time, flight=flight, task=task)


def goes_on(
    time: float, task: str = "a", flight: int = 1, cancelled: bool = False
) -> events.WaitEnded:
    return events.WaitEnded(time=time, flight=flight, task=task, cancelled=cancelled)


def timeline_of(*happened: events.Event, **options: int) -> Timeline:
    timeline = Timeline(**options)
    for event in happened:
        timeline(event)
    return timeline


def picture_of(*happened: events.Event) -> Picture:
    return compose(happened, [])


def parse(timeline: Timeline) -> ET.Element:
    return ET.fromstring(timeline.svg())


def of_class(root: ET.Element, name: str, tag: str = "rect") -> list[ET.Element]:
    """The elements of a class that stand for something, so not those of the legend."""
    found = [each for each in root.iter(SVG + tag) if each.get("class") == name]
    return [each for each in found if each.find(SVG + "title") is not None]


def titles(root: ET.Element, name: str, tag: str = "rect") -> list[str]:
    return [each.findtext(SVG + "title", "") for each in of_class(root, name, tag)]


def left(element: ET.Element) -> float:
    return float(element.get("x", ""))


def texts(root: ET.Element) -> list[str]:
    return [each.text or "" for each in root.iter(SVG + "text")]


# --- generations ---------------------------------------------------------------------------


def test_a_generation_reigns_from_its_landing_to_the_next_one() -> None:
    picture = picture_of(
        events.LoggedIn(time=10, generation=1),
        started(12),
        landed(13),
        started(19),
        landed(20, 2, 3),
    )
    assert [(band.generation, band.start, band.end) for band in picture.bands] == [
        (1, 10, 13),
        (2, 13, 20),
        (3, 20, 20),
    ]


def test_a_log_out_ends_the_generation_and_a_log_in_begins_one() -> None:
    picture = picture_of(
        events.LoggedIn(time=0, generation=1),
        events.LoggedOut(time=2, reason="asked"),
        events.LoggedIn(time=5, generation=2),
        events.Saved(time=6, generation=2),
    )
    assert [(band.start, band.end) for band in picture.bands] == [(0, 2), (5, 6)]


def test_the_landing_of_a_first_login_does_not_begin_its_generation_twice() -> None:
    picture = picture_of(
        started(0, generation=0), events.LoggedIn(time=1, generation=1), landed(1, 1, 1)
    )
    assert [(band.generation, band.start) for band in picture.bands] == [(1, 1)]


def test_a_landing_in_view_begins_a_generation_even_if_what_was_before_is_forgotten() -> None:
    assert [band.generation for band in picture_of(landed(3, 7, 8)).bands] == [8]
    assert picture_of(events.LoggedOut(time=2, reason="asked")).bands == []


# --- flights -------------------------------------------------------------------------------


def test_a_flight_lasts_until_it_lands_and_says_why_and_for_how_many() -> None:
    picture = picture_of(
        started(1, cause="rejected"),
        waits(1),
        waits(1, "b"),
        goes_on(2),
        landed(2),
        goes_on(2, "b"),
    )
    (flight,) = picture.flights
    assert (flight.kind, flight.start, flight.end, flight.label) == ("landed", 1, 2, "401")
    assert flight.text == (
        "refresh 1, because a server refused the token: generation 2; 2 tasks waited"
    )


def test_flights_that_fail_adopt_or_are_in_the_air_look_different() -> None:
    picture = picture_of(
        started(1),
        failed(2),
        started(3, 2, "asked_for"),
        landed(4, 2, adopted=True),
        started(5, 3),
        waits(6, flight=3),
    )
    assert [(flight.kind, flight.start, flight.end) for flight in picture.flights] == [
        ("failed", 1, 2),
        ("adopted", 3, 4),
        ("airborne", 5, 6),
    ]
    assert "failed with TooSlowError; 0 tasks waited" in picture.flights[0].text
    assert "generation 2, found in the store" in picture.flights[1].text
    assert picture.flights[2].text.endswith("still in the air; 1 task waited")


def test_an_end_without_a_beginning_is_left_out() -> None:
    picture = picture_of(landed(1), failed(2, 2), goes_on(3))
    assert picture.flights == []
    assert picture.rows == []


# --- rows ----------------------------------------------------------------------------------


def test_a_wait_is_drawn_in_the_row_of_its_task_whether_it_ended_or_not() -> None:
    picture = picture_of(
        waits(1, "b"), waits(1, "a"), goes_on(2, "a"), waits(3, "a", 2), goes_on(4, "a", 2, True)
    )
    assert [row.name for row in picture.rows] == ["a", "b"]
    a, b = picture.rows
    assert [(span.kind, span.start, span.end) for span in a.spans] == [
        ("wait", 1, 2),
        ("wait-cancelled", 3, 4),
    ]
    assert [(span.start, span.end, span.text) for span in b.spans] == [
        (1, 4, "waits for refresh 1")
    ]


def test_rows_are_in_the_order_of_names_with_numbers_as_numbers() -> None:
    names = ["task 10", "task 9", "main", "task 9b", "10", "9" * 5000]
    picture = picture_of(*(waits(1, name) for name in names))
    assert [row.name[:9] for row in picture.rows] == [
        "10", "999999999", "main", "task 9", "task 9b", "task 10",
    ]  # fmt: skip


def test_tasks_of_one_name_that_overlap_have_a_row_each() -> None:
    timeline = Timeline()
    timeline(waits(1.5))
    timeline(waits(1.6))
    timeline(goes_on(2))
    timeline(goes_on(2))
    for start, end in ((1, 3), (1.2, 2.5), (2.7, 4), (3, 5)):
        timeline.add_request("GET /", task="a", started=start, ended=end)
    timeline(events.RequestResent(time=2.2, task="a", refused=1, generation=2))
    timeline(events.RequestResent(time=4.5, task="a", refused=1, generation=2))
    timeline(events.RequestResent(time=4.5, task="unknown", refused=1, generation=2))
    rows = timeline._picture().rows
    assert [[(span.kind, span.start) for span in row.spans] for row in rows] == [
        [("request", 1), ("wait", 1.5), ("request", 3)],
        [("request", 1.2), ("wait", 1.6), ("request", 2.7)],
    ]
    assert [[mark.time for mark in row.marks] for row in rows] == [[2.2, 4.5], []]


def test_a_wait_beyond_its_request_is_of_another_task() -> None:
    timeline = timeline_of(waits(2), goes_on(5))
    timeline.add_request("GET /", task="a", started=1, ended=3)
    assert len(timeline._picture().rows) == 2


# --- requests ------------------------------------------------------------------------------


async def test_a_request_is_of_the_task_that_makes_it_and_says_how_it_ended() -> None:
    timeline = Timeline()

    async def ask(label: str, error: Exception | None = None) -> None:
        with timeline.request(label) as request:
            await trio.sleep(1)
            request.outcome = 204
            if error:
                raise error

    async def fails() -> None:
        with pytest.raises(ValueError, match="canary"):
            await ask("GET /fails", ValueError("canary"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "GET /works", name="works")
        nursery.start_soon(fails, name="fails")
        with trio.move_on_after(0.5):
            await ask("GET /cancelled")
        with timeline.request("GET /nothing"):
            pass
        with timeline.request("GET /running"):
            running = titles(parse(timeline), "request")
            await trio.sleep(2)
    root = parse(timeline)
    assert "GET /running: running; 0.000 s" in running
    assert "GET /works: 204; 1.000 s" in titles(root, "request")
    assert "GET /nothing: answered; 0.000 s" in titles(root, "request")
    assert titles(root, "request-failed") == ["GET /fails: ValueError; 1.000 s"]
    assert titles(root, "request-cancelled") == ["GET /cancelled: cancelled; 0.500 s"]
    assert {"works", "fails"} <= set(texts(root))
    assert "canary" not in timeline.svg() + repr(timeline)


@pytest.mark.parametrize("times", [(2, 1), (math.nan, 1), (0, math.inf)])
def test_a_request_that_ends_before_it_began_is_an_error(times: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="ended must be a time after started"):
        Timeline().add_request("GET /", task="a", started=times[0], ended=times[1])


# --- the picture ---------------------------------------------------------------------------


def test_the_picture_shows_generations_flights_waits_and_the_log_out() -> None:
    root = parse(
        timeline_of(
            events.LoggedIn(time=100, generation=1),
            started(104, cause="rejected"),
            waits(104),
            landed(106),
            goes_on(106),
            events.RequestResent(time=106, task="a", refused=1, generation=2),
            events.NotSaved(time=107, generation=2, error="StoreError"),
            events.LoggedOut(time=109, reason="refused"),
            events.Revoked(time=109.5),
            events.NotRevoked(time=110, error="TooSlowError"),
        )
    )
    assert titles(root, "band-1") == ["generation 1: 6.000 s"]
    assert titles(root, "band-0") == ["generation 2: 3.000 s"]
    assert titles(root, "landed")[0].endswith("1 task waited; 2.000 s")
    assert titles(root, "wait") == ["waited for refresh 1; 2.000 s"]
    assert titles(root, "resent", "path") == [
        "sent again with generation 2, after generation 1 was refused"
    ]
    assert titles(root, "logged-in", "path") == ["logged in: generation 1"]
    assert titles(root, "logged-out", "path") == ["logged out: refused"]
    assert titles(root, "note", "path") == ["the tokens were revoked"]
    assert titles(root, "trouble", "path") == [
        "generation 2 was not saved: StoreError",
        "not revoked: TooSlowError",
    ]
    assert {"0 s", "5 s", "10 s", "401", "a", "logged out: refused"} <= set(texts(root))
    assert root.get("aria-label") == "trioauth: 10.0 s, 2 generations, 1 refresh, 1 task"


def test_what_happens_at_the_same_time_is_drawn_at_the_same_place() -> None:
    root = parse(timeline_of(started(0), waits(5), landed(10), goes_on(10)))
    (flight,), (wait,) = of_class(root, "landed"), of_class(root, "wait")
    right = [left(each) + float(each.get("width", "")) for each in (flight, wait)]
    assert right[0] == pytest.approx(right[1], abs=0.2)
    middle = left(flight) + float(flight.get("width", "")) / 2
    assert left(wait) == pytest.approx(middle, abs=0.2)


def test_labels_are_left_out_where_there_is_no_room() -> None:
    crowded = [
        event
        for flight in range(1, 200)
        for event in (started(flight, flight), landed(flight + 0.9, flight, flight + 1))
    ]
    root = parse(timeline_of(*crowded))
    assert len(of_class(root, "landed")) == 199
    assert texts(root).count("token old") == 0
    roomy = timeline_of(started(0), landed(1), started(9, 2), landed(10, 2, 3))
    assert texts(parse(roomy)).count("token old") == 1
    assert "7" not in texts(root)


def test_only_so_many_rows_are_drawn_and_the_picture_says_how_many_are_not() -> None:
    busy = [waits(number, f"task {number}") for number in range(100)]
    small, large = timeline_of(*busy, rows=7), timeline_of(*busy)
    assert len(of_class(parse(small), "wait")) == 7
    assert "and 93 more" in texts(parse(small))
    assert len(of_class(parse(large), "wait")) == 60
    assert "and 40 more" in texts(parse(large))
    assert "more" not in " ".join(texts(parse(timeline_of(*busy[:60]))))


def test_only_the_newest_are_remembered() -> None:
    timeline = timeline_of(*(started(number, number) for number in range(10)), limit=3)
    assert [flight.start for flight in timeline._picture().flights] == [7, 8, 9]
    for number in range(10):
        timeline.add_request("GET /", task="a", started=number, ended=number)
    assert [span.start for row in timeline._picture().rows for span in row.spans] == [7, 8, 9]


@pytest.mark.parametrize(
    "nasty", ["<script>alert(1)</script>", '"><b>&amp;', "a\x00\x1b\ufffe\ud800b"]
)
def test_names_from_outside_are_text_and_nothing_else(nasty: str) -> None:
    timeline = timeline_of(waits(0, nasty), failed(1))
    timeline.add_request(nasty, task=nasty, started=0, ended=1, outcome=nasty)
    root = parse(timeline)
    assert {each.tag.removeprefix(SVG) for each in root.iter()} == {
        "svg", "style", "rect", "text", "path", "g", "title",
    }  # fmt: skip
    name = re.sub(r"[\x00\x1b\ufffe\ud800]", " ", nasty)
    assert name in [each.text for each in root.iter(SVG + "title")]
    timeline.svg().encode()


def test_a_long_name_is_shortened_and_whole_where_one_points_at_it() -> None:
    root = parse(timeline_of(waits(0, "worker " + "x" * 60)))
    assert "worker " + "x" * 16 + "…" in texts(root)
    assert "worker " + "x" * 60 in [each.text for each in root.iter(SVG + "title")]


@pytest.mark.parametrize("seconds", [0, 1e-3, 0.07, 1, 15, 3600, 1e6])
def test_the_axis_has_some_round_ticks_whatever_the_length(seconds: float) -> None:
    ticks = list(_Axis(100, max(seconds, 1e-3)).ticks())
    assert 4 <= len(ticks) <= 11
    assert ticks[0][0] == 100
    assert ticks[-1][0] <= 100 + max(seconds, 1e-3) * (1 + 1e-9)
    assert len({text for _, text in ticks}) == len(ticks)


def test_an_empty_timeline_is_a_picture_too() -> None:
    assert "trioauth" in texts(parse(Timeline()))
    assert repr(Timeline()) == (
        "<trioauth.timeline.Timeline: 0.0 s, 0 generations, 0 refreshes, 0 tasks>"
    )


def test_it_is_readable_in_the_dark_and_its_style_stays_with_it() -> None:
    style = parse(Timeline()).findtext(SVG + "style", "")
    light, dark = style.split("@media (prefers-color-scheme:dark){")
    selectors = re.findall(r"([^{}]+)\{", light + dark)
    assert selectors
    assert all(selector.startswith(".trioauth-timeline") for selector in selectors)
    assert set(re.findall(r"([^{}]+)\{(?:fill|stroke):#", light)) == set(
        re.findall(r"([^{}]+)\{(?:fill|stroke):#", dark)
    )


def test_a_notebook_shows_it() -> None:
    timeline = timeline_of(waits(0))
    assert timeline._repr_svg_() == timeline.svg()
    assert timeline._repr_mimebundle_() == {
        "image/svg+xml": timeline.svg(),
        "text/plain": repr(timeline),
    }


def test_it_is_saved_as_a_file(tmp_path: Path) -> None:
    timeline = timeline_of(waits(0, "größer"))
    timeline.save(tmp_path / "timeline.svg")
    assert ET.parse(tmp_path / "timeline.svg").getroot().tag == SVG + "svg"
    assert (tmp_path / "timeline.svg").read_bytes() == timeline.svg().encode()


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "7"])
@pytest.mark.parametrize("name", ["rows", "limit"])
def test_a_number_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number, 1 or more"):
        Timeline(**{name: value})


async def test_the_legend_explains_what_is_there_and_nothing_else() -> None:
    meanings = {meaning for _, meaning in LEGEND} - {"refresh"}
    assert not meanings & set(texts(parse(Timeline())))
    explained = texts(parse(timeline_of(waits(0), started(0), failed(1), goes_on(1))))[-2:]
    assert explained == ["waits for a refresh", "refresh, failed"]
    every = timeline_of(
        *(waits(0, name) for name in "abc"),
        goes_on(1, "a", cancelled=True),
        *(started(0, flight) for flight in range(1, 4)),
        *(landed(1, 1), landed(1, 2, adopted=True), failed(1, 3)),
        events.RequestResent(time=1, task="a", refused=1, generation=2),
    )
    for status in (200, 500):
        every.add_request("GET /", task="a", started=0, ended=1, outcome=status)
    root = parse(every)
    assert meanings - {"request, cancelled"} <= set(texts(root))
    with trio.CancelScope() as scope:
        with every.request("GET /"):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    root = parse(every)
    assert meanings <= set(texts(root))
    height = float(root.get("height", ""))
    bottom = max(float(each.get("y", "")) for each in root.iter(SVG + "text"))
    assert bottom < height < bottom + 30, "it makes room for a second line"


@pytest.mark.parametrize(("time", "anchor"), [(1, "out"), (9, "out end")])
def test_a_log_out_says_so_where_there_is_room(time: float, anchor: str) -> None:
    out = events.LoggedOut(time=time, reason="refused")
    root = parse(timeline_of(events.LoggedIn(time=0, generation=1), out, started(10)))
    [label] = [each for each in root.iter(SVG + "text") if each.text == "logged out: refused"]
    assert label.get("class") == anchor


def test_an_error_of_http_is_drawn_as_a_failure() -> None:
    timeline = Timeline()
    for number, status in enumerate((200, 304, 400, 503, "connected")):
        timeline.add_request(
            "GET /", task=f"a{number}", started=number, ended=number + 1, outcome=status
        )
    root = parse(timeline)
    assert len(of_class(root, "request")) == 3
    assert titles(root, "request-failed") == ["GET /: 400; 1.000 s", "GET /: 503; 1.000 s"]


# --- watching a client ---------------------------------------------------------------------


def client_of(library: Any, answer: Any) -> Any:
    async def handle(request: Any) -> Any:
        await trio.sleep(1)
        return answer(library)

    transport = library.MockTransport(handle)
    return library.AsyncClient(base_url="https://api.test", transport=transport)


async def test_a_client_that_is_watched_reports_its_requests_whatever_the_method(
    library: Any,
) -> None:
    timeline = Timeline()
    client = client_of(library, lambda library: library.Response(204))
    assert timeline.watch(client) is client
    async with client:
        assert (await client.get("/notes?secret=1")).status_code == 204
        async with client.stream("POST", "/notes") as response:
            assert response.status_code == 204
        with trio.move_on_after(0.5):
            await client.delete("/notes/1")
    root = parse(timeline)
    assert titles(root, "request") == ["GET /notes: 204; 1.000 s", "POST /notes: 204; 1.000 s"]
    assert titles(root, "request-cancelled") == ["DELETE /notes/1: cancelled; 0.500 s"]


async def test_a_request_that_fails_is_reported_with_the_name_of_its_error(library: Any) -> None:
    def fail(library: Any) -> Any:
        raise library.ReadError("no")

    timeline = Timeline()
    async with timeline.watch(client_of(library, fail), label=lambda request: "x") as client:
        with pytest.raises(library.ReadError):
            await client.get("/")
    assert titles(parse(timeline), "request-failed") == ["x: ReadError; 1.000 s"]


# --- with a session ------------------------------------------------------------------------


async def test_it_draws_what_a_session_does() -> None:
    timeline, server = Timeline(), AuthServer(lifetime=600)
    server.delay(1)
    async with trioauth.open_session(
        trioauth.RefreshTokenGrant(server.token_url, client_id=server.client_id),
        tokens=server.log_in(),
        base_url=server.url,
        transport=server.transport(),
        observers=[timeline],
    ) as session:
        timeline.watch(session)
        server.expire()
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(session.get, "/notes", name=f"task {number}")
    root = parse(timeline)
    assert titles(root, "request") == ["GET /notes: 200; 1.000 s"] * 3
    assert len(of_class(root, "wait")) == len(of_class(root, "resent", "path")) == 3
    assert titles(root, "landed") == [
        "refresh 1, because a server refused the token: generation 2; 3 tasks waited; 1.000 s"
    ]
    assert "canary" not in timeline.svg()


# --- several keys --------------------------------------------------------------------------


def of(key: str, event: events.Event) -> events.Event:
    return attrs.evolve(event, key=key, shown_key=f"shown {key}")


def test_each_key_has_a_lane_of_its_own() -> None:
    picture = picture_of(
        of("a", events.LoggedIn(time=0, generation=1)),
        of("b", events.LoggedIn(time=1, generation=1)),
        # Both sessions count their flights from 1.
        of("a", started(2)),
        of("b", started(3)),
        of("b", waits(3, "x")),
        of("a", landed(4)),
        of("b", failed(5)),
        of("b", goes_on(5, "x")),
        of("b", events.LoggedOut(time=5, reason="refused")),
    )
    assert [lane.name for lane in picture.lanes] == ["shown a", "shown b"]
    a, b = picture.lanes
    assert [(band.generation, band.start, band.end) for band in a.bands] == [(1, 0, 4), (2, 4, 5)]
    assert [(band.generation, band.start, band.end) for band in b.bands] == [(1, 1, 5)]
    assert [(span.kind, span.start, span.end) for span in a.flights] == [("landed", 2, 4)]
    assert [(span.kind, span.start, span.end) for span in b.flights] == [("failed", 3, 5)]
    assert a.flights[0].text.endswith("; 0 tasks waited")
    assert b.flights[0].text.endswith("; 1 task waited")
    assert [mark.kind for mark in b.marks] == ["logged-in", "logged-out"]
    assert picture.rows[0].spans[0].text == "waited for refresh 1 of shown b"
    assert (picture.bands, picture.flights, picture.marks) == ((), (), ())
    assert picture.summary == "5.0 s, 2 keys, 3 generations, 2 refreshes, 1 task"


def test_one_key_alone_has_a_lane_too_and_a_session_without_one_says_so() -> None:
    [lane] = picture_of(of("a", started(1))).lanes
    assert lane.name == "shown a"
    both = picture_of(of("a", started(1)), started(1), waits(1))
    assert [lane.name for lane in both.lanes] == ["shown a", "(no key)"]
    assert both.rows[0].spans[0].text == "waits for refresh 1"
    assert picture_of(started(1)).lanes == []


def test_lanes_are_drawn_above_the_rows_and_a_key_itself_never_is() -> None:
    timeline = timeline_of(
        of("secret-key", events.LoggedIn(time=0, generation=1)),
        of("secret-key", started(1)),
        of("secret-key", waits(1, "task 1")),
        of("secret-key", landed(2)),
        of("secret-key", events.Revoked(time=3)),
        of("b", events.LoggedIn(time=0, generation=1)),
    )
    root = parse(timeline)
    assert {"shown secret-key", "shown b", "task 1", "1", "2"} <= set(texts(root))
    assert "generation" not in texts(root)
    assert titles(root, "landed") == [
        "refresh 1, because the token was old: generation 2; 1 task waited; 1.000 s"
    ]
    assert len(of_class(root, "logged-in", "path")) == 2
    assert titles(root, "note", "path") == ["the tokens were revoked"]
    names = {each.text: float(each.get("y", "0")) for each in root.iter(f"{SVG}text")}
    assert names["shown secret-key"] < names["shown b"] < names["task 1"]
    text = timeline.svg().replace("shown secret-key", "")
    assert "secret-key" not in text


def test_only_so_many_lanes_are_drawn() -> None:
    timeline = timeline_of(*(of(str(n), started(0)) for n in range(5)), rows=3)
    shown = [text for text in texts(parse(timeline)) if text.startswith(("shown", "and"))]
    assert shown == ["shown 0", "shown 1", "shown 2", "and 2 more"]


async def test_a_timeline_of_many_sessions_has_their_lanes() -> None:
    server, timeline = AuthServer(), Timeline()
    async with trioauth.open_sessions(
        server.grant(), base_url=server.url, transport=server.transport(), observers=[timeline]
    ) as sessions:
        for key in ("user-1", "user-2"):
            await sessions.log_in(key, server.log_in())
        server.expire()
        async with sessions.use("user-1") as session:
            assert (await session.get("/notes")).status_code == 200
    picture = timeline._picture()
    assert len(picture.lanes) == 2
    assert [len(lane.flights) for lane in picture.lanes] == [1, 0]
    assert "user-1" not in timeline.svg()
