"""One thread keeps quiet, and others are heard."""

from __future__ import annotations

import io
import logging
import sys
import warnings

import pytest
from threads import elsewhere

from dynsurgeon.running.quiet import printing_to, quiet


def speak(text: str) -> None:
    logging.getLogger("some.logger").warning(text)
    warnings.warn(text, stacklevel=2)
    print(text)
    print(text, file=sys.stderr)


def heard(
    text: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> list[bool]:
    out, err = capsys.readouterr()
    return [text in caplog.text, text in out, text in err]


def test_nothing_is_heard_of_this_thread_and_all_of_another(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with quiet():
            speak("mine")
            elsewhere(lambda: speak("theirs"))
        assert [str(warning.message) for warning in warned] == ["theirs"]
        assert not any(heard("mine", caplog, capsys))
        with quiet():
            elsewhere(lambda: speak("again"))
        assert all(heard("again", caplog, capsys))
        speak("after")
        assert all(heard("after", caplog, capsys))
        assert len(warned) == 3


def test_a_warning_that_is_an_error_elsewhere_is_none_here() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet():
            warnings.warn("mine", stacklevel=1)
            with pytest.raises(UserWarning):
                elsewhere(lambda: warnings.warn("theirs", stacklevel=1))


def test_errors_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with quiet():
        logging.getLogger("some.logger").error("broken")
    assert "broken" in caplog.text


def test_all_that_was_put_in_is_taken_out() -> None:
    def state() -> tuple[object, ...]:
        handlers = [logging.lastResort, *logging.root.handlers]
        filters = [list(handler.filters) for handler in handlers if handler is not None]
        return list(warnings.filters), filters, sys.stdout, sys.stderr, logging.root.manager.disable

    before = state()
    with pytest.raises(ValueError, match="failed"), quiet():
        raise ValueError("failed")
    assert state() == before


def test_a_filter_of_warnings_is_taken_out_of_what_another_context_copied() -> None:
    context = warnings.catch_warnings()
    with quiet():
        context.__enter__()
        within = warnings.filters
    assert warnings.filters is within
    context.__exit__(None, None, None)
    assert all(not hasattr(entry[1], "_thread") for entry in (*within, *warnings.filters))


def test_printing_goes_elsewhere_for_this_thread_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = io.StringIO()
    with printing_to(target):
        print("mine")
        elsewhere(lambda: print("theirs"))
    assert (target.getvalue(), capsys.readouterr().out) == ("mine\n", "theirs\n")


def test_a_process_without_a_console_prints_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with quiet():
        print("mine")
        assert sys.stdout is None
