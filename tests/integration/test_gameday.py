"""Cases of the fault table that need cables between all processes: the drills of tools/gameday.

`make gameday` does all drills, in turn and with its limit of seconds; here they only must end well.
"""

import pytest

from privedge.identity.roles import Role
from tools.gameday import page, shown
from tools.gameday.cases import CASES
from tools.gameday.drill import DRILLS, Drill, Outcome, expect, play
from tools.gameday.drills import load, network
from tools.gameday.invariants import Invariants
from tools.gameday.service import Service

pytestmark = pytest.mark.mpc

PATIENCE_S = 120


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with Service(tmp_path_factory.mktemp("gameday")) as running:
        yield running


def played(service: Service, do) -> None:
    (drill,) = (each for each in DRILLS if each.do is do)
    outcome = play(drill, service, PATIENCE_S)
    assert (outcome.failed, outcome.wrong) == ("", 0)
    assert outcome.seen


def test_c27_what_nothing_passed_through_works_again_once_it_is_healed(service):
    played(service, network.partition)
    played(service, network.all_cut)


def test_c28_a_lost_response_and_a_lost_request_can_be_asked_for_again(service):
    played(service, network.response_lost)
    played(service, network.request_lost)


def test_c29_a_slow_network_costs_time_only(service):
    played(service, network.slow)


def test_c34_a_correction_that_is_altered_on_its_way_is_not_taken(service):
    played(service, network.dealer_bytes_altered)


def test_c39_shares_that_do_not_belong_together_harm_their_own_client_only(service):
    played(service, load.two_pictures)


def test_c44_a_hundred_clients_at_once_get_their_own_answers(service):
    played(service, load.hundred_clients)


def test_c49_bytes_that_are_no_message_are_refused_by_every_method(service):
    played(service, load.garbage)


def test_c50_large_metadata_is_refused_before_any_servicer(service):
    played(service, load.large_metadata)


# --- What a run says when something is wrong ------------------------------------------------------


def drill_of(do) -> Drill:
    return Drill("C-99", "what nobody should do", do, short=True)


def test_a_wrong_answer_a_dead_process_and_a_name_in_a_log_are_seen(service):
    def everything(service: Service) -> str:
        question = service.question(3)
        service.ask(question=type(question)(question.images, ("digit-9",)))
        worker = service.worker(Role.PARTY1)
        worker.kill()
        worker.wait(20)
        with service.deployment.log_file("party0").open("a") as log:
            log.write("the answer was digit-3\n")
        return "done"

    before = Invariants(service)
    outcome = play(drill_of(everything), service, PATIENCE_S)
    assert outcome.wrong == before.wrong == 1
    for said in ("1 wrong answers", "a worker of party1 died too", "party0 has an owner's name"):
        assert said in outcome.failed


def test_a_drill_that_sees_something_else_fails_with_what_it_saw(service):
    def odd(service: Service) -> str:
        expect(condition=False, seen="OK")
        return ""

    outcome = play(drill_of(odd), service, PATIENCE_S)
    assert "unexpected: 'OK'" in outcome.failed
    assert page.summary([outcome], {}) == "1 cases, 0 wrong answers, 1 failed"


def test_the_page_tells_what_failed_and_what_nothing_shows():
    passed = Outcome(drill_of(lambda _: ""), "Unreachable", 0, "", 0.25)
    tests = {"C-01": {"tests/a.py::test_c01_a": True}, "C-02": {"tests/a.py::test_c02_b": False}}
    text = page.page([passed], tests)
    assert "| C-99 | what nobody should do | Unreachable | 0.2 |" in text
    assert "`test_c01_a` |" in text and "`test_c02_b` **(failed)** |" in text
    assert text.count("**nothing yet**") == len(CASES) - 2
    assert [*page.failures([passed], {**tests, "C-03": {}})] == ["C-02", "C-03"]


# --- The table ------------------------------------------------------------------------------------


# Built beside this table: budgets, keys at rest, metrics.
ELSEWHERE = {"C-45", "C-61", "C-62"}


def test_every_case_is_shown_by_a_test_of_its_number():
    assert {*CASES} - {*shown.tests()} <= ELSEWHERE


def test_the_table_has_63_cases_and_tests_have_no_other_numbers():
    assert [*CASES] == [f"C-{number:02}" for number in range(1, 64)]
    assert {each.case for each in DRILLS} | {*shown.tests()} <= {*CASES}
