"""Scripts on a machine with Habana's package but without a card."""

from __future__ import annotations

from scripts import fail, run_squad, succeed

NO_CARD = (
    "habana-tensorflow is installed, but the driver shows no card: "
    "/sys/class/accel/accel0/device/device_type does not exist"
)


def test_no_card_under_auto(tmp_path):
    log = succeed(run_squad(tmp_path, device="auto", train_steps=2))
    assert f"no HPU: {NO_CARD}\n" in log
    assert "running on CPU: " in log
    assert (tmp_path / "predictions.json").exists()


def test_no_card_under_hpu(tmp_path):
    (line,) = fail(run_squad(tmp_path, device="hpu"))
    assert line == f"error: --device=hpu: {NO_CARD}; fix that, or run with --device=cpu"


def test_no_search_under_cpu(tmp_path):
    log = succeed(run_squad(tmp_path, device="cpu", train_steps=2, do_predict=False))
    assert "HPU" not in log
