"""What an HPA's watcher reports, and when."""

from metrics_server.kube.events import Regarding
from tests.advising.manifests import hpa, pods
from tests.support.watching import MEAN, RIGHT, TYPO, Stage


async def test_a_finding_is_reported_once(stage: Stage) -> None:
    """However often the HPA is checked, and for however long."""
    stage.apply(MEAN)
    for _ in range(5):
        assert await stage.look(after=4000) == ["MeanUnderAverageValue"]
        assert stage.counts() == {"MeanUnderAverageValue": 1}
    (regarding,) = stage.events.regarding
    assert regarding == Regarding(
        "autoscaling/v2", "HorizontalPodAutoscaler", "inference", "default", "u-1"
    )


async def test_a_finding_that_comes_back_is_reported_again(stage: Stage) -> None:
    """It had disappeared in between."""
    for metrics in (MEAN, RIGHT, MEAN):
        stage.apply(metrics)
        await stage.look()
    assert stage.events.reasons == ["MeanUnderAverageValue"] * 2


async def test_an_event_that_could_not_be_emitted_is_tried_again(stage: Stage) -> None:
    """At each check, until it is."""
    stage.apply(MEAN)
    stage.events.works = False
    await stage.look()
    assert len(await stage.look()) == 2
    stage.events.works = True
    await stage.look()
    assert len(await stage.look()) == 3


async def test_an_hpa_that_is_made_again_has_events_of_its_own(stage: Stage) -> None:
    """Kubernetes keeps events by UID."""
    stage.apply(MEAN)
    await stage.look()
    stage.apply(MEAN, uid="u-2")
    await stage.look()
    assert [one.uid for one in stage.events.regarding] == ["u-1", "u-2"]


async def test_an_hpa_that_is_deleted_leaves_nothing(stage: Stage) -> None:
    """No finding is counted, and nothing is kept."""
    stage.apply(MEAN)
    await stage.look()
    stage.store.apply("DELETED", hpa(MEAN))
    await stage.look()
    assert stage.counts() == {}
    assert not stage.watcher._seen


async def test_what_may_pass_must_last_for_a_minute(stage: Stage) -> None:
    """A selector that matches no pods yet is not a mistake."""
    stage.apply(TYPO)
    assert await stage.look() == []
    assert await stage.look(after=59) == []
    assert stage.counts() == {}
    assert await stage.look(after=1) == ["SelectorMatchesNoPods"]
    assert stage.counts() == {"SelectorMatchesNoPods": 1}
    # It was gone at one check, so the minute starts again.
    stage.listed = pods(labels={"app": "typo"})
    assert len(await stage.look()) == 1
    assert stage.counts() == {}
    stage.listed = pods()
    assert len(await stage.look(after=100)) == 1
    assert len(await stage.look(after=30)) == 1
    assert len(await stage.look(after=30)) == 2


async def test_a_finding_stays_the_same_while_its_workload_sleeps(stage: Stage) -> None:
    """Without pods it may be transient; it is not reported again when they return."""
    stage.apply(MEAN)
    await stage.look()
    awake = stage.listed
    for listed in ((), awake, (), awake):
        stage.listed = listed
        await stage.look(after=300)
    assert stage.events.reasons == ["MeanUnderAverageValue"]


async def test_what_no_longer_may_pass_is_reported_at_once(stage: Stage) -> None:
    """Without pods it is unknown which workload the metric measures."""
    awake, stage.listed = stage.listed, ()
    stage.apply(MEAN)
    assert await stage.look() == []
    stage.listed = awake
    assert await stage.look(after=1) == ["MeanUnderAverageValue"]


async def test_nothing_is_concluded_from_pods_that_are_not_known(stage: Stage) -> None:
    """Earlier findings still hold, and none are added."""
    stage.apply(MEAN)
    await stage.look()
    stage.listed = None
    stage.apply(RIGHT)
    await stage.look()
    assert stage.counts() == {"MeanUnderAverageValue": 1}
    stage.listed = pods()
    await stage.look()
    assert stage.counts() == {}
