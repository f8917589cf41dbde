from tests.scenario.test_real_ganeti import *  # noqa
import tests.scenario.test_real_ganeti as m
import time as _t
_u = m.until
def until(c, what, seconds=60.0):
    b=_t.monotonic(); _u(c, what, seconds); print(f"{_t.monotonic()-b:6.1f} {what}")
m.until = until
for n in list(globals()):
    if n.startswith("test_"): del globals()[n]
@pytest.mark.real
@pytest.mark.parametrize("n", range(4))
def test_loop(cloud, n):
    m.test_a_cluster_that_is_away_slows_nobody_and_heals_by_itself(cloud, RealGaneti.stop, RealGaneti.start)
