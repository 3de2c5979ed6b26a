"""What a plugin has to say of its data while it is trained."""

from __future__ import annotations

import logging

from unnoise.cli.train import heard


def test_a_plugin_is_heard_while_it_trains(capsys):
    logger = logging.getLogger("some_plugin.data")
    logger.info("before")
    with heard("some_plugin"):
        logger.info("12 rows")
        logger.debug("details")
        logging.getLogger("another_plugin").info("of no concern")
    logger.info("after")
    assert capsys.readouterr() == ("", "12 rows\n")


def test_other_processes_of_a_training_repeat_nothing(capsys):
    with heard("some_plugin", first=False):
        logging.getLogger("some_plugin").info("12 rows")
    assert capsys.readouterr() == ("", "")
