"""Any JSON value, and how long a test may look for one that breaks something."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=8,
)

#: What takes longer has not come to pass at all, however busy the machine is.
HANG_SECONDS = 60.0

#: A machine with much else to do is slow, which is no finding.
PATIENT = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
