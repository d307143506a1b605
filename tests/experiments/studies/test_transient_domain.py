"""The domain of the theory of the transient: which settings are in it."""

from collections import Counter

from experiments.studies.transient_domain.run import SETTINGS
from experiments.studies.transient_length.run import registered_predictions
from experiments.studies.transient_length.runs import SETTINGS as BEFORE
from theory import AdamW


def test_settings_lie_inside_differ_and_are_new() -> None:
    for name, settings in SETTINGS.items():
        assert len({one.config for one in settings}) == len(settings) == 32
        assert Counter(one.held_out for one in settings) == {True: 16, False: 16}
        for one in settings:
            optimizer = one.config.optimizer
            assert isinstance(optimizer, AdamW)
            product = optimizer.learning_rate * optimizer.weight_decay
            assert product <= 0.002 * 1.001
            assert 2 * product / (1 - optimizer.beta2) <= 0.25
        assert not {one.config for one in settings} & {one.config for one in BEFORE[name]}


def test_halves_have_starts_of_both_kinds() -> None:
    for settings in SETTINGS.values():
        counts = Counter((one.held_out, one.setting.start) for one in settings)
        assert len(counts) == 4
        assert min(counts.values()) >= 6


def test_predictions_have_first_passages() -> None:
    found = registered_predictions({name: settings[::3] for name, settings in SETTINGS.items()})
    assert len(found) == 11 + 3 * 11
    assert found["first_passage_predicted"].notna().mean() > 0.9
    assert found["first_passage_predicted"].max() > 4 * found["first_passage_predicted"].min()
