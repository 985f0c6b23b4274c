"""Which processes there are, whether they fit together, and what they say to each other; without JAX."""

import os
import re
import sys
import threading
import time

import pytest

import cornu
from cornu.core import process_group
from cornu.distribution import detection, launch
from cornu.distribution.launch import free_port
from cornu.distribution.rendezvous import meet
from cornu.training import agreement

SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_NODELIST": "node[07-09],other",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
HEAD = "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911"


@pytest.fixture
def environment(monkeypatch):
    """Sets variables, where none of a cluster's are set."""
    for name in list(os.environ):
        if name.startswith(
            ("KERAS_DISTRIBUTION", "SLURM", "OMPI", "PMIX", "JOB_", "KUBERNETES", "JAX_CO")
        ):
            monkeypatch.delenv(name)

    def put(values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize(
    "given, variables, expected",
    [
        (("a:1", 2, 1), {}, ("a:1", 2, 1, None)),
        (("a:1, b:2,c:3", None, 2), {}, ("a:1", 3, 2, None)),
        (("[::1]:5", 1, 0), {}, ("[::1]:5", 1, 0, None)),
        (("fe80::1", 1, 0), {}, (f"[fe80::1]:{detection.DEFAULT_PORT}", 1, 0, None)),
        (
            (None, None, None),
            {
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": "a",
                "KERAS_DISTRIBUTION_NUM_PROCESSES": "3",
                "KERAS_DISTRIBUTION_PROCESS_ID": "0",
            },
            (f"a:{detection.DEFAULT_PORT}", 3, 0, None),
        ),
        ((None, None, None), SLURM, ("node07:61517", 4, 3, [1])),
        (
            (None, None, None),
            {**OPEN_MPI, "OMPI_MCA_orte_hnp_uri": HEAD},
            ("10.96.0.1:62624", 4, 2, [1]),
        ),
        (
            (None, None, None),
            {**OPEN_MPI, "PMIX_NAMESPACE": "prterun-node-a-1234@1"},
            (f"node-a:{detection.DEFAULT_PORT + 753}", 4, 2, [1]),
        ),
        (("a:1", None, None), OPEN_MPI, ("a:1", 4, 2, [1])),
        (("a:1", 3, None), {"JOB_COMPLETION_INDEX": "2"}, ("a:1", 3, 2, None)),
    ],
)
def test_places(environment, given, variables, expected):
    environment(variables)
    assert tuple(detection.place_of(*given, 5)) == expected


def test_the_pods_of_an_indexed_job(environment, monkeypatch):
    environment({"JOB_COMPLETION_INDEX": "1"})
    monkeypatch.setattr(
        detection.socket, "getfqdn", lambda: "train-1.pods.default.svc.cluster.local"
    )
    address = f"train-0.pods.default.svc.cluster.local:{detection.DEFAULT_PORT}"
    assert tuple(detection.place_of(None, 2, None, 5)) == (address, 2, 1, None)


@pytest.mark.parametrize(
    "given, variables, said",
    [
        (("a:1,b:2", 3, 0), {}, "names 2 processes, and `num_processes` is 3"),
        (("a:1", 2, 2), {}, "must be from 0 to"),
        (("a:1", 2, -1), {}, "must be from 0 to"),
        (("a:1", 2, None), {}, "lacks `process_id`"),
        ((None, None, None), {}, "lacks `job_addresses`, `num_processes`, `process_id`"),
        ((None, None, None), OPEN_MPI, "lacks `job_addresses`"),
        (("a:port", 2, 1), {}, "a host and a port"),
        ((7, 2, 1), {}, "is a text"),
        (("a:1", 2.0, 1), {}, "must be an integer"),
        (("a:1", None, 0), {"KERAS_DISTRIBUTION_NUM_PROCESSES": "two"}, "must be a number"),
    ],
)
def test_what_contradicts_itself_or_lacks(environment, given, variables, said):
    environment(variables)
    with pytest.raises(ValueError, match=said):
        cornu.distribution.initialize(*given)


def test_too_late(environment):
    cornu.ops.ones(1)
    with pytest.raises(RuntimeError, match="before anything is computed"):
        cornu.distribution.initialize("a:1", 2, 1)
    with pytest.raises(ValueError, match="is a number of seconds"):
        cornu.distribution.initialize("a:1", 2, 1, timeout=-1)


def together(*works):
    """What functions return, or the errors that they raise, each in a thread of its own."""
    found = [None] * len(works)

    def run(i):
        try:
            found[i] = works[i]()
        except Exception as error:
            found[i] = error

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return found


def hello(number, count=3, **same):
    return {
        "process": number,
        "processes": count,
        "host": f"h{number}",
        "pid": 10 + number,
        "same": same,
    }


def meeting(*hellos, timeout=5):
    address = f"127.0.0.1:{free_port()}"
    return together(*[lambda h=h: meet(address, h, timeout) for h in hellos])


@pytest.mark.parametrize(
    "hellos, kind, said",
    [
        ([hello(0), hello(1)], TimeoutError, "1 did not come to .* within 2 seconds: process 2"),
        ([hello(1)], TimeoutError, "Process 1 cannot reach the coordinator"),
        ([hello(0), hello(1), hello(1)], ValueError, "Two processes have the number 1"),
        ([hello(0), hello(2, 4)], ValueError, r"was told 3, process 2 \(h2, pid 12\) 4"),
        (
            [hello(0, jax="1"), hello(1, jax="2"), hello(2, jax="1")],
            ValueError,
            r"the same jax. Process 0 \(h0\) has 1, process 1 \(h1, pid 11\) has 2",
        ),
    ],
)
def test_who_does_not_fit(hellos, kind, said):
    found = meeting(*hellos, timeout=2)
    for each in found:
        assert type(each) is kind
        assert re.search(said, str(each))


@pytest.fixture
def groups(monkeypatch):
    """Three processes' groups, in one process, which none of them ends."""
    monkeypatch.setattr(process_group, "GRACE", 0.5)
    left = []
    monkeypatch.setattr(process_group, "leave", left.append)
    found = meeting(*[hello(n) for n in range(3)])
    for group in found:
        group.left = left
    yield found
    for group in found:
        group._all_finished = True
    for thread in threading.enumerate():
        if thread.name == "cornu processes":
            thread.join(10)
    for group in found:
        group._close()


def test_what_they_agree_on(groups):
    assert together(*[lambda g=g: g.first("x", [g.number, (1,)]) for g in groups]) == [[0, [1]]] * 3
    assert together(*[lambda g=g: g.least("x", 5 - g.number) for g in groups]) == [3] * 3
    assert (
        together(*[lambda g=g: g.same("x", {"y": (1, "2")}) for g in groups])
        == [{"y": [1, "2"]}] * 3
    )
    common = [lambda g=g: g.common("x", [{"y": 1}] * (1 + g.number)) for g in groups]
    assert together(*common) == [1] * 3
    assert together(*[lambda g=g: g.common("x", [{}] * g.number) for g in groups]) == [0] * 3
    values = [lambda g=g: g.common("x", [{"y": 1}, {"y": g.number % 2}]) for g in groups]
    for error in together(*values):
        assert "x: y must be the same in every process. Process 1 (h1) has 1, " in str(error)
    for error in together(*[lambda g=g: g.common(f"x{g.number}", []) for g in groups]):
        assert "Process 1 is in `x1`, and process 0 in `x0`" in str(error)
    error, *_ = together(
        lambda: groups[0].common("a", [{}]), *[lambda g=g: g.stops("b", False) for g in groups[1:]]
    )
    assert "Process 1 is in `b`, and process 0 in `a`" in str(error)


def model_of(activation="relu", rate=0.2, loss="mse", skips="a", **adam):
    cornu.utils.set_random_seed(1)
    inputs = cornu.Input((2,))
    first = cornu.layers.Dense(2, activation, name="a")(inputs)
    second = cornu.layers.Dropout(rate, name="drop")(cornu.layers.Dense(2, name="b")(first))
    outputs = cornu.layers.Add()([second, first if skips == "a" else inputs])
    model = cornu.Model(inputs, outputs, name="net")
    model.compile(cornu.optimizers.Adam(lambda: 0.1, **adam), loss, metrics=[lambda y, p: p[:, 0]])
    return model


@pytest.mark.parametrize(
    "other, said",
    [
        (
            {"activation": "tanh"},
            "`activation` of the layer 'a' .* has tanh, process 0 has relu",
        ),
        ({"rate": 0.4}, "`rate` of the layer 'drop' .* has 0.4, process 0 has 0.2"),
        ({"loss": "mae"}, "`loss` of `compile`"),
        ({"beta_1": 0.5}, "`beta_1` of the optimizer"),
        ({"skips": "inputs"}, "`graph` of the layer 'net'"),
        ({}, ""),
    ],
)
def test_models_that_differ_and_have_the_same_weights(groups, monkeypatch, other, said):
    mine = threading.local()
    monkeypatch.setattr(agreement.processes, "group", lambda: mine.group)
    models = [model_of(), model_of(), model_of(**other)]

    def compare(group, model):
        mine.group = group
        agreement.check_model(model, "fit", class_weight={0: 1.0})

    found = together(*[lambda p=p: compare(*p) for p in zip(groups, models, strict=True)])
    for error in found:
        assert re.search(said, str(error)) if other else error is None, error


def test_files_are_waited_for(groups):
    first, second, _ = groups
    waiting = [lambda: second.wait_until_written("a"), lambda: first.wrote("a", None)]
    assert together(*waiting) == [None, None]
    first.wrote("a", PermissionError(13, "no"))
    assert type(together(lambda: second.wait_until_written("a"))[0]) is PermissionError


def test_all_stop_after_the_same_step(groups):
    counts = [0, 0, 0]

    def train(group):
        with group.call("fit"):
            while not group.stops("steps", last=False):
                counts[group.number] += 1
                time.sleep(0.001 * (1 + group.number))
                if group.number == 2 and counts[2] == 10:
                    group.stop("SIGTERM")

    together(*[lambda g=g: train(g) for g in groups])
    assert counts[0] == counts[1] == counts[2] == 10
    assert {g.stop_reason() for g in groups} == {"Process 2 (host h2, pid 12) received SIGTERM"}


@pytest.mark.parametrize("way", ["fails", "leaves a call", "ends its script", "is killed"])
def test_why_the_others_end(groups, capfd, way):
    def work(group):
        if way == "ends its script" and group.number != 1:
            # It makes one call less than the others.
            with group.call("fit"):
                pass
        with group.call("fit"):
            if group.number != 1:
                return group.reason(wait=5)
            if way == "leaves a call":
                raise OSError("the disk is full")
        if way == "fails":
            group.fail("ValueError: bad.")
        elif way == "ends its script":
            threading.Thread(target=group.finish, daemon=True).start()
        elif way == "is killed":
            group._connections[0].stream.shutdown(2)

    found = together(*[lambda g=g: work(g) for g in groups])
    said = {
        "fails": "has ended: ValueError: bad.",
        "leaves a call": "has left the call: OSError: the disk is full",
        "ends its script": "has ended its script.",
        "is killed": "ended without a word",
    }[way]
    for reason in (found[0], found[2]):
        assert f"Process 1 (host h1, pid 11) {said}" in reason
    time.sleep(0.5)
    assert groups[0].left
    assert said in capfd.readouterr().err


def test_a_slow_process_is_left_alone(groups):
    """One that is in its last call, which another one has made and has ended its script."""

    def work(group):
        with group.call("evaluate"):
            if group.number != 1:
                return group.reason(wait=1.5)
        threading.Thread(target=group.finish, daemon=True).start()

    assert together(*[lambda g=g: work(g) for g in groups]) == [None] * 3


@pytest.mark.parametrize(
    "who, does, said, status",
    [
        (
            1,
            "os.kill(os.getpid(), 9)",
            "Process 1 .* ended by SIGKILL .* last:\n  so far\n  good$",
            137,
        ),
        (
            0,
            "sys.exit(3)",
            "Process 0 .* ended with exit status 3 before all had met.* last:\n  good$",
            3,
        ),
        # Of one error of all, nothing more is said.
        (None, "sys.exit('no driver')", "^(good\\n){2}(no driver\\s?){2}$", 1),
    ],
)
def test_a_process_that_dies_before_all_have_met_is_named(
    monkeypatch, capfd, who, does, said, status
):
    monkeypatch.setattr(launch, "_ALIKE", 1)
    script = f"""
import os, sys, time
if "{who}" not in ("None", os.environ["KERAS_DISTRIBUTION_PROCESS_ID"]):
    time.sleep(60)
print("so far", flush=True)
time.sleep(0.1)
print("good", file=sys.stderr, flush=True)
time.sleep(0.1)
{does}
"""
    begin = time.monotonic()
    assert launch.run_local([sys.executable, "-S", "-c", script], 2) == status
    assert time.monotonic() - begin < 30
    assert re.search(said, capfd.readouterr().err.strip(), re.M)
