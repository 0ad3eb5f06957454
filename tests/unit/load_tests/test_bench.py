"""`make bench`: one list of scenarios, and a run that goes on after one has failed."""

import json

import pytest
import typer

import bench
import gpu_check
from measuring.engines import CPU_ARGS, Build, max_sequences
from measuring.figures import Bound, Check, Figures
from measuring.pairs import Measured, Pair
from measuring.passages import Order
from measuring.prompts import CYCLE_REQUESTS, mixed_line
from scenarios.catalogue import SCENARIOS, Scenario
from scenarios.prefix import _both, _figures
from scenarios.run_batch import steady_rate

WRITES = """
import json, signal, sys
name, out = sys.argv[1], sys.argv[sys.argv.index("--json") + 1]
print("a table")
if name == "breaks":
    sys.exit("it broke")
if name == "hangs":
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("it was interrupted")
elif name == "junk":
    open(out, "w").write("[]")
else:
    json.dump({"scenario": name, "goal": 1.0, "reached": name != "slow", "ratio": 0.5}, open(out, "w"))
"""


def scenario(name: str, **more: float) -> Scenario:
    return Scenario(name, "?", "something", "≥ 1", 1, **more)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    (tmp_path / "run.py").write_text(WRITES)
    monkeypatch.setattr(bench, "_HERE", tmp_path)
    monkeypatch.setattr(bench, "_LOGS", tmp_path / "logs")
    monkeypatch.setattr(bench, "registered", lambda: {"breaks", "junk", "slow", "good", "hangs"})
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("listed", SCENARIOS, ids=lambda listed: listed.name)
def test_each_scenario_of_the_list_is_registered(listed):
    assert listed.name in bench.registered()


def test_the_list_names_each_once_and_fits_its_time():
    assert len({listed.name for listed in SCENARIOS}) == len(SCENARIOS)
    assert sum(run.minutes for listed in SCENARIOS for run in bench.runs_of(listed)) <= 65


def test_a_scenario_that_fails_does_not_stop_the_rest(runs):
    (runs / "breaks.json").write_text("figures of an older run")
    names = ("breaks", "absent", "junk", "slow", "good")
    ended = bench.run_all([scenario(name) for name in names], runs, quick=False)
    assert [one.name for one in ended] == ["breaks", "junk", "slow", "good"]
    assert ["wrote no figures" in one.failed for one in ended] == [True, False, False, False]
    assert "cannot be read" in ended[1].failed
    assert ended[2].missed == ("slow",)
    assert ended[3].row().endswith("ran")
    assert not (runs / "breaks.json").exists()
    assert json.loads((runs / "good.json").read_text())["scenario"] == "good"


def test_a_scenario_that_hangs_is_given_up(runs, monkeypatch):
    monkeypatch.setattr(bench, "limit", lambda _: 1.0)
    ended = bench.run_all([scenario("hangs"), scenario("good")], runs, quick=False)
    assert "did not end within" in ended[0].failed
    assert not ended[1].failed


def test_what_a_scenario_said_is_kept(runs, tmp_path):
    bench.run_all([scenario("breaks")], runs, quick=True)
    said = (tmp_path / "logs" / "breaks.log").read_text()
    assert "a table" in said
    assert "it broke" in said


@pytest.mark.parametrize(("cpu", "here", "said"), [(False, Build.CPU, "the cpu build"), (True, None, "there is none")])
def test_a_gpu_check_without_the_build_is_skipped_in_one_line(cpu, here, said, monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "build", lambda: here)
    gpu_check.main(cpu=cpu)
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("gpu-check: skipped")
    assert said in line


def test_what_failed_in_a_gpu_check_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu_check, "build", lambda: Build.CPU)
    monkeypatch.setattr(gpu_check, "_ROOT", tmp_path)
    monkeypatch.setattr(gpu_check, "run_all", lambda *_, **__: [bench.Ended("overhead", 1.0, "it broke")])
    with pytest.raises(typer.Exit):
        gpu_check.main(cpu=True)
    # There are no tests in the empty folder, which is a failure as well.
    assert "failed: tests/gpu, overhead" in capsys.readouterr().out


def test_the_shuffled_order_has_a_goal_of_its_own():
    def measured(order: Order, goal: float, seconds: float):
        baseline, ours = (Measured(took, work=128, extra={"cached": 0.5}) for took in (10.0, seconds))
        return _figures(order, goal, [Pair(baseline, ours)], threads=1, quick=False)

    found = _both(measured(Order.INTERLEAVED, 4.0, 2.0), measured(Order.SHUFFLED, 2.5, 5.0))
    assert found.reached
    assert found.missed == ["speed, shuffled"]
    assert [check.value for check in found.checks] == [2.0]


def test_the_arguments_tell_how_many_sequences_run_at_once():
    assert max_sequences(CPU_ARGS) == 16
    assert max_sequences("--max-model-len 512") == 256


def test_every_batch_of_mixed_requests_is_the_same_work():
    def lengths(first: int) -> list[tuple[int, int]]:
        bodies = [mixed_line(number, "some")["body"] for number in range(first, first + CYCLE_REQUESTS)]
        return sorted((len(body["messages"][0]["content"].split()), body["max_tokens"]) for body in bodies)

    assert [tokens for _, tokens in lengths(0)] == [tokens for _, tokens in lengths(CYCLE_REQUESTS)]
    assert len({tokens for _, tokens in lengths(0)}) == 4


def test_no_two_mixed_requests_begin_alike():
    begins = {
        mixed_line(number, "some")["body"]["messages"][0]["content"][:12]
        for number in range(1000, 1000 + CYCLE_REQUESTS)
    }
    assert len(begins) == CYCLE_REQUESTS


def test_the_steady_rate_of_run_batch_is_that_of_its_last_bar():
    log = "Running batch:  50% | 4/8 [00:05<00:05, 1.20s/req]\nRunning batch: 100% | 8/8 [00:09<00:00, 2.50req/s]"
    assert steady_rate(log) == 2.5
    assert steady_rate("8/8 [00:09<00:00, 2.00s/req]") == 0.5
    assert steady_rate("nothing of the kind") is None


def test_an_aim_that_is_not_reached_is_told_and_no_miss():
    aim = Check.of("µs of CPU", 47.0, 40.0, bound=Bound.AT_MOST, aim=True)
    assert not aim.reached
    assert Figures("control-plane", 0.5, reached=True, ratio=0.6, checks=(aim,)).missed == []


def test_what_runs_on_apache_kafka_too_has_figures_of_its_own():
    listed = scenario("good", apache_minutes=2.0)
    runs = [(run.name, run.words, run.minutes) for run in bench.runs_of(listed)]
    assert runs == [("good", ("good",), 1.0), ("good-apache", ("good", "--broker", "apache"), 2.0)]
    assert {one.name for one in SCENARIOS if one.apache_minutes} == {"control-plane", "submit", "scale"}


def test_without_apache_kafka_what_runs_on_it_is_left_out_and_the_rest_runs(runs, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("BACKBURNER_TEST_KAFKA", raising=False)
    monkeypatch.setattr("apache_kafka.release._DEFAULT", tmp_path)
    (runs / "good-apache.json").write_text("figures of an older run")
    ended = bench.run_all([scenario("good", apache_minutes=2.0)], runs, quick=False)
    assert [one.name for one in ended] == ["good"]
    assert "good-apache is left out: Apache Kafka is not on this machine" in capsys.readouterr().out
    assert (runs / "good-apache.json").exists()
