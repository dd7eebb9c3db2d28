"""privedge/log.py: how lines look, and which queries they are about."""

import json
import logging
import re
import threading
from contextvars import copy_context

import pytest

from privedge import log

A, B = "a" * 32, "b" * 32


@pytest.fixture
def lines(capsys):
    """lines() -> what was logged since."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err.splitlines()
    root.handlers[:], level = before
    root.setLevel(level)


def test_a_line_for_people_and_one_for_operators(lines):
    log.configure(plain=True)
    logging.getLogger("x").warning("mind %d", 7)
    log.configure()
    logging.getLogger("x").info("mind %d", 7)
    people, operators = lines()
    assert people == "privedge: WARNING: mind 7"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO x: mind 7", operators)


def test_a_json_line_is_one_object(lines):
    log.configure(json_of="party 0")
    logging.getLogger("x").info('two\nlines of "%s"', "é")
    (line,) = lines()
    fields = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields.pop("time"))
    assert fields == {
        "level": "INFO", "server": "party 0", "logger": "x", "message": 'two\nlines of "é"',
    }  # fmt: skip


def test_a_line_carries_the_queries_that_it_is_about(lines):
    log.configure(json_of="party 0")
    logger = logging.getLogger("x")
    with log.about([A]):
        logger.info("one")
        with log.about([A, B]):
            logger.info("two")
        log.name_requests([B])
        logger.info("named")
    logger.info("none")
    found = [json.loads(line).get("request_id") for line in lines()]
    assert found == [A, [A, B], B, None]


def test_a_text_line_repeats_no_id(lines):
    log.configure()
    with log.about([A, B]):
        logging.getLogger("x").info("query %s: answered", A)
    (line,) = lines()
    assert line.endswith(f"query {A}: answered [request {B}]")


def test_another_thread_is_about_nothing_unless_it_is_told(lines):
    log.configure()
    with log.about([A]):
        for run in (threading.Thread, lambda target: threading.Thread(
            target=copy_context().run, args=(target,)
        )):  # fmt: skip
            thread = run(target=lambda: logging.getLogger("x").info("said"))
            thread.start()
            thread.join()
    assert [A in line for line in lines()] == [False, True]
