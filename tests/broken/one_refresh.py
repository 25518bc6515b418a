"""One refresh: P1 to P5, but for what the store decides."""

from __future__ import annotations

from typing import Final

from .variant import PROVE, REFRESH, Edit, Variant

VARIANTS: Final = (
    Variant(
        "the counter is read when the 401 arrives, apart from the token that was sent",
        (
            Edit(
                "signing",
                "        news = self._is_news(generation.number)\n",
                "        read = tokens.fresh() or generation\n"
                "        news = self._is_news(read.number)\n",
            ),
            Edit(
                "signing",
                "            tokens.reject(generation.number)\n",
                "            tokens.reject(read.number)\n",
            ),
        ),
        REFRESH + "test_p02_a_late_401_is_sent_again_with_the_current_generation",
    ),
    Variant(
        "a request that has queued for a connection is sent as it was signed",
        (
            Edit(
                "limiter",
                "            if signed_with is None or belonging.is_good(signed_with):\n",
                "            if True:\n",
            ),
        ),
        REFRESH + "test_p03_a_request_that_queued_in_the_limiter_never_carries_a_refused_token",
    ),
    Variant(
        "what is sent again after a redirect is the original request",
        (
            Edit(
                "auth",
                "        self._sent = answered\n",
                "        self._sent = self._request\n",
            ),
        ),
        REFRESH + "test_p04_what_is_sent_again_after_a_redirect_is_the_request_that_was_refused",
    ),
    Variant(
        "every body is sent again, those too that are used up",
        (
            Edit(
                "auth",
                "        isinstance(request.stream, library.SyncByteStream)",
                "        True or isinstance(request.stream, library.SyncByteStream)",
            ),
            Edit(
                "auth",
                '        and "Transfer-Encoding" not in request.headers',
                '        or "Transfer-Encoding" not in request.headers',
            ),
        ),
        REFRESH + "test_p04_a_body_that_cannot_be_sent_again_gets_its_401_back_untouched",
    ),
    Variant(
        "a refused token is refreshed however often that was of no use",
        (
            Edit(
                "evidence",
                "        return now < self.counted_at + self.pause\n",
                "        return False\n",
            ),
        ),
        REFRESH + "test_p04_an_api_that_refuses_every_token_causes_a_bounded_number_of_refreshes",
    ),
    Variant(
        "a refresh counts as futile only when the second sending is refused",
        (
            Edit(
                "signing",
                "            progress.charged = self.evidence.charge(place, "
                "generation.number, now=now)\n"
                "            if progress.charged is None:\n",
                "            account = self.evidence.accounts.get(place)\n"
                "            if account is not None and account.forbids(now):\n",
            ),
            Edit(
                "signing",
                '        if renewed:\n            return "again"\n',
                "        if renewed:\n"
                "            self.evidence.charge(place, generation.number, now=now)\n"
                '            return "again"\n',
            ),
        ),
        PROVE + "test_p04_a_hundred_one_shot_bodies_that_are_refused_cause_few_refreshes",
    ),
    Variant(
        "the evidence is that of the whole session",
        (
            Edit(
                "evidence",
                "    return origin_of(url), url.path\n",
                '    return origin_of(url), "/"\n',
            ),
        ),
        "tests/test_evidence.py::test_a_place_is_an_origin_and_a_path_whatever_the_query",
    ),
    Variant(
        "after a lost answer the token is presented as often as after any failure",
        (
            Edit(
                "retry",
                "MOST_REPEATS = 2",
                "MOST_REPEATS = 10**9",
            ),
            Edit(
                "retry",
                "REPEAT_WITHIN = 10.0",
                "REPEAT_WITHIN = 1e9",
            ),
        ),
        REFRESH + "test_p05_after_a_lost_answer_it_is_presented_twice_more_within_ten_seconds",
    ),
)
