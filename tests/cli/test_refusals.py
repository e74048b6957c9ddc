"""Bad input at the command line: one line on stderr, exit code 2, no traceback, nothing made."""

from __future__ import annotations

import pytest

from cryptosignal.cli.flags import parse_symbols
from cryptosignal.cli.main import _COMMANDS, main
from cryptosignal.ground.faults import UserFault

REFUSED = [
    (["run", "--symbols", "0"], ["--symbols", "0", "2 to 600"]),
    (["run", "--symbols", "601"], ["--symbols", "601", "2 to 600"]),
    (["run", "--symbols=-5"], ["--symbols", "-5", "2 to 600"]),
    (["run", "--symbols", " , "], ["--symbols", "names with commas"]),
    (["run", "--symbols", "BTC/USDT"], ["--symbols", "BTC/USDT"]),
    (["run", "--scans", "-1"], ["--scans", "-1", "allowed: 0"]),
    (["run", "--scans", "many"], ["--scans", "many"]),
    (["run", "--interval", "0"], ["scan_interval_s", "0.0", "1 to 86400"]),
    (["run", "--interval", "nan"], ["scan_interval_s", "nan"]),
    (["run", "--top", "-3"], ["top", "-3", "1 to 600"]),
    (["run", "--mode", "yolo"], ["mode", "yolo", "signal, approve, auto"]),
    (["run", "--min-score", "500"], ["min_score", "500", "0 to 100"]),
    (["run", "--min-score", "nan"], ["min_score", "nan"]),
    (["run", "--page", "--page-port", "70000"], ["--page-port", "70000", "65535"]),
    (["run", "--venue", "nowhere"], ["--venue", "nowhere", "embedded, binance, testnet"]),
    (["run", "--venue", "binance", "--speed", "2"], ["--speed", "embedded"]),
    (["run", "--venue", "binance", "--data", "x.csv"], ["--data", "embedded"]),
    (["run", "--config", "none.toml"], ["none.toml", "cannot be read"]),
    (["run", "--wat"], ["--wat"]),
    (["run", "extra"], ["extra"]),
    (["scan", "--top", "0"], ["top", "0", "1 to 600"]),
    (["scan", "--symbols", "1"], ["--symbols", "1"]),
    (["paper-trade", "BTCUSDT"], ["DIRECTION"]),
    (["paper-trade", "BTCUSDT", "sideways"], ["sideways", "long, short"]),
    (["paper-trade", "BTCUSDT", "long", "--hold", "-5"], ["--hold", "-5", "allowed"]),
    (["paper-trade", "BTCUSDT", "long", "--hold", "nan"], ["--hold", "nan", "allowed"]),
    (["paper-trade", "BTCUSDT", "long", "--symbols", "1"], ["--symbols", "1", "2 to 600"]),
    (["run", "--account", "gold"], ["account", "gold", "testnet, live"]),
    (["run", "--live"], ["--live", "sim", "--account live"]),
    (["run", "--account", "live", "--venue", "binance"], ["account live", "--live"]),
    (["run", "--account", "testnet", "--venue", "testnet"], ["testnet", "found no key", "0600"]),
    (["kill"], ["kill", "nothing", "1, 2, 3, or --clear"]),
    (["kill", "4"], ["kill", "4", "1, 2, 3"]),
    (["kill", "1", "--clear"], ["kill", "--clear"]),
    (["approve", "--no"], ["--no", "signal id"]),
    (["close"], ["SYMBOL"]),
    (["export", "--what", "tips", "--out", "x.csv"], ["--what", "tips", "trades, fees, funding"]),
    (["export", "--what", "fees", "--out", "x.csv", "--from", "soon"], ["--from", "soon"]),
    (["export", "--what", "fees", "--out", "x.csv", "--to", "1970-01-01"], ["--from", "before"]),
    (["export", "--what", "fees", "--out", "x.csv"], ["runs", "no such folder"]),
    (["backup", "kept"], ["runs", "no such folder"]),
    (["restore", "kept"], ["kept", "backup.json", "cannot be read"]),
    (["simulate", "--port", "99999"], ["--port", "99999", "65535"]),
    (["simulate", "--port", "-1"], ["--port", "-1", "65535"]),
    (["simulate", "--start", "yesterday"], ["yesterday", "2025-01-31"]),
    (["simulate", "--speed", "0"], ["speed", "0.0", "allowed"]),
    (["simulate", "--faults", "hail"], ["faults", "hail", "calm, weather, storm"]),
    (["simulate", "--faults", "storm,hail=1"], ["faults", "hail", "ws_reset"]),
    (["simulate", "--faults", "storm,http_429=-1"], ["faults", "http_429=-1", "0..36000"]),
    (["simulate", "--faults", "ws_lost=2"], ["faults", "ws_lost=2", "0..1"]),
    (["simulate", "--public-key", "none.pem"], ["public key none.pem", "PEM file"]),
    (["simulate", "--data", "none.csv"], ["none.csv", "not found", ".parquet or .csv"]),
    (["sim", "--days", "0"], ["--days", "0", "1 or more"]),
    (["sim", "--seed", "x"], ["--seed", "x", "random"]),
    (["replay", "nowhere"], ["nowhere", "no such folder"]),
    (["replay", "."], ["not a run's journal folder"]),
    (["explain", "BTCUSDT"], ["runs", "no such folder"]),
    (["explain", "BTCUSDT", "--run", "/"], ["not a run's journal folder"]),
    (["explain", "BTCUSDT", "--at", "yesterday"], ["--at", "yesterday", "2025-01-31"]),
    (["report"], ["no report of latest", "none yet"]),
    (["report", "--day", "../x"], ["--day", "../x", "YYYY-MM-DD"]),
    (["config", "--config", "none.toml"], ["none.toml", "cannot be read"]),
    (["nope"], ["nope", "run"]),
]


def ended(arguments, capsys):
    """Exit code and words of a command."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    said = capsys.readouterr()
    return caught.value.code, said.out, said.err


@pytest.mark.parametrize(("arguments", "words"), REFUSED, ids=[" ".join(a) for a, _ in REFUSED])
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    """A wrong flag is one line that names it, what was found and what is allowed; nothing is made."""
    monkeypatch.chdir(tmp_path)
    code, out, err = ended(arguments, capsys)
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    for word in words:
        assert word in err
    assert list(tmp_path.iterdir()) == []


CONFIGS = [
    ("[run]\nmod = 'auto'\n", ["run.mod", "did you mean 'mode'"]),
    ("[run]\nmode = 'yolo'\n", ["run.mode", "yolo", "signal, approve, auto"]),
    ("[run]\naccount = 'live'\n", ["account live", "embedded", "binance"]),
    ("[run]\nintervals = ['7m']\n", ["run.intervals", "7m", "15m"]),
    ("[run]\ntrigger_intervals = ['1d']\n", ["run.trigger_intervals", "1d", "run.intervals"]),
    ("[run]\nsymbols_max = 0\n", ["run.symbols_max", "0", "1 to 600"]),
    ("[run]\ndata_dir = ''\n", ["run.data_dir", "a folder"]),
    ("[run]\nscan_interval_s = 'often'\n", ["run.scan_interval_s", "float", "str"]),
]


@pytest.mark.parametrize(("text", "words"), CONFIGS)
def test_a_wrong_configuration_stops_the_start(tmp_path, monkeypatch, capsys, text, words):
    """A typo or an impossible value in the file is one line before anything is started."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.toml").write_text(text)
    code, out, err = ended(["run", "--config", "my.toml"], capsys)
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    for word in words:
        assert word in err
    assert [p.name for p in tmp_path.iterdir()] == ["my.toml"]


def test_candle_files_that_cannot_be_walked(tmp_path, monkeypatch, capsys):
    """Each kind of broken candle file is one line with the file's name and what is wrong."""
    head = "symbol,open_time,open,high,low,close,volume\n"
    good = "BTCUSDT,1735689600000,2,3,1,2,5\n"
    broken = {
        "wrong.csv": ("a,b,c\n1,2,3\n", "missing column symbol, open_time"),
        "empty.csv": (head, "no rows"),
        "kind.txt": (head + good, "unknown kind '.txt'"),
        "words.csv": (head + "BTCUSDT,hello,2,3,1,2,5\n", "wrong type"),
        "times.csv": (head + good + "BTCUSDT,,2,3,1,2,5\n", "open_time"),
        "seconds.csv": (head + "BTCUSDT,1735689600,2,3,1,2,5\n", "epoch milliseconds"),
        "twice.csv": (head + good + good, "open at the same time"),
        "names.csv": (head + good + ",1735689600000,2,3,1,2,5\n", "empty values in column symbol"),
        "low.csv": (head + "BTCUSDT,1735689600000,2,3,2.5,2,5\n", "high and low"),
        "volume.csv": (head + "BTCUSDT,1735689600000,2,3,1,2,-5\n", "volume below 0"),
        "one.csv": (head + good, "ms apart"),
        "raw.parquet": ("garbage", "unreadable"),
    }
    monkeypatch.chdir(tmp_path)
    for name, (text, words) in broken.items():
        (tmp_path / name).write_text(text)
        code, _, err = ended(["simulate", "--port", "0", "--data", name], capsys)
        assert (code, len(err.splitlines())) == (2, 1), (name, err)
        assert name in err
        assert words in err


def test_symbols_are_a_number_or_names():
    """`60` asks for so many, names in any case for themselves, each once."""
    assert parse_symbols("60") == (60, ())
    assert parse_symbols("btcusdt, ETHUSDT,btcusdt") == (60, ("BTCUSDT", "ETHUSDT"))
    assert parse_symbols("币安人生USDT")[1] == ("币安人生USDT",)
    with pytest.raises(UserFault):
        parse_symbols("²")


def test_help_and_version_need_nothing(capsys):
    """`--help` reads as a map, a line for each command, and `--version` is one line, with exit code 0."""
    code, out, _ = ended(["--help"], capsys)
    assert code == 0
    lines = [line.strip("│ ").split("  ", 1) for line in out.splitlines()]
    said = {line[0]: line[1].strip() for line in lines if len(line) == 2}
    for name, _target, _group, summary in _COMMANDS:
        assert said[name] == summary
    _, own, _ = ended(["run", "--help"], capsys)
    assert "Example: cryptosignal run" in own
    code, out, _ = ended(["--version"], capsys)
    assert (code, len(out.splitlines())) == (0, 1)


def test_faults_have_their_exit_codes(monkeypatch, capsys):
    """The venue out of reach ends with 3, our own fault with 1, an interruption with 130."""
    import cryptosignal.cli.main as entry
    from cryptosignal.ground.faults import ContractFault, RateLimited, TimedOut

    for fault, code in (
        (TimedOut("no answer"), 3),
        (RateLimited(429, 1), 3),
        (ContractFault("impossible"), 1),
        (UserFault("wrong"), 2),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 0),
    ):

        def raising(*_arguments, fault=fault, **_options):
            raise fault

        monkeypatch.setattr(entry, "build_app", lambda raising=raising, **_: raising)
        got, _, err = ended([], capsys)
        assert got == code, fault
        assert len(err.splitlines()) <= 1
