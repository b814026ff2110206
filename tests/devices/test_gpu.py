"""Session settings on GPUs, which this machine need not have."""

from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf

from albert_tf.devices.gpu import Gpu


@pytest.mark.parametrize(("processes", "visible"), [(1, ""), (4, "2")])
def test_each_of_several_processes_sees_its_own_gpu(processes, visible):
    config = tf.ConfigProto()
    Gpu(["/physical_device:GPU:0"]).configure_session(config, 2, processes)
    assert config.gpu_options.visible_device_list == visible
    assert config.gpu_options.allow_growth
