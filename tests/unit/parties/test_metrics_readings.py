"""Metrics that are read when they are asked for."""

import logging

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from parties.serving.metrics import _Readings


def test_readings_that_fail_keep_nothing_else_back_and_tell_no_detail(caplog):
    def fails():
        raise ValueError("ana")

    registry = CollectorRegistry()
    Gauge("others", "Read as ever.", registry=registry).set(7)
    with caplog.at_level(logging.WARNING):
        registry.register(_Readings("models", fails))
        said = generate_latest(registry).decode()
    assert "others 7.0" in said
    assert "metrics: models cannot be read: ValueError" in caplog.text
    assert "ana" not in caplog.text + said
