# SPDX-License-Identifier: Apache-2.0
import pytest

from tadrib.ray_jobs.driver.capacity import shortage
from tadrib.training.config import Resources

HEAD, NODE = {"memory": 8 * 1024**3}, {"CPU": 4.0, "GPU": 1.0, "memory": 16 * 1024**3}


@pytest.mark.parametrize(
    ("resources", "nodes", "said"),
    [
        (
            {"num_workers": 5},
            [HEAD, NODE],
            "Ray has 4 CPUs, 1 GPU on 2 nodes, enough for 4. Use resources.num_workers=4",
        ),
        ({"num_workers": 2, "gpus_per_worker": 1}, [NODE], "2 workers of 1 CPU, 1 GPU each"),
        (
            {"num_workers": 1, "cpus_per_worker": 6},
            [NODE, NODE],
            "largest node allows resources.cpus_per_worker=4",
        ),
        (
            {"num_workers": 1, "memory_per_worker": "20Gi"},
            [NODE],
            "a worker of 1 CPU, 20.0 GiB memory was requested",
        ),
        ({"num_workers": {"min": 5, "max": 9}}, [NODE], "5 workers"),
        (
            {"num_workers": 4, "workers_per_node": 2, "gpus_per_worker": 1},
            [{"CPU": 8.0, "GPU": 3.0}, {"CPU": 8.0, "GPU": 1.0}],
            "4 workers of 1 CPU, 1 GPU each, 2 on a node, were requested; Ray has 16 CPUs, 4 GPUs on 2 nodes, "
            "enough for 2. Use resources.num_workers=2",
        ),
        (
            {"num_workers": 16, "workers_per_node": 8, "gpus_per_worker": 1},
            [{"CPU": 64.0, "GPU": 4.0}] * 4,
            "on 4 nodes, enough for 0. Use resources.workers_per_node=4: no node fits more workers.",
        ),
        ({"num_workers": 1}, [HEAD], "No node has any CPU for workers: use another cluster"),
    ],
)
def test_lack_of_room_says_what_was_asked_for_what_is_there_and_what_would_fit(resources, nodes, said):
    problem = shortage(Resources(**resources), nodes, joined=True)

    assert problem is not None
    assert said in str(problem)


def test_a_node_that_refused_to_join_is_thought_of_only_where_nodes_join():
    joined = shortage(Resources(num_workers=5), [HEAD, NODE], joined=True)
    own = shortage(Resources(num_workers=5), [NODE], joined=False)

    assert "A node whose `ray start` failed (port in use, another Ray" in str(joined)
    assert "refused" not in str(own)


def test_a_machine_without_gpus_is_told_how_to_train_on_its_cpus():
    problem = shortage(Resources(gpus_per_worker=1), [HEAD | {"CPU": 4.0}], joined=False)

    assert str(problem).endswith("The largest node allows resources.gpus_per_worker=0.")


def test_room_is_found_across_nodes_and_for_the_fewest_workers():
    assert shortage(Resources(num_workers=8), [HEAD, NODE, NODE], joined=True) is None
    assert shortage(Resources(num_workers={"min": 1, "max": 9}), [NODE], joined=True) is None
    whole = Resources(num_workers=4, workers_per_node=2)
    assert shortage(whole, [{"CPU": 3.0}, {"CPU": 3.0}], joined=True) is None
