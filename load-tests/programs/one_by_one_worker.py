"""A worker that tries suspects one by one, however many one death made: the plain way to find what kills engines."""

from unittest.mock import patch

from backburner_worker.__main__ import main
from backburner_worker.admission.trial_sizes import TrialSizes

if __name__ == "__main__":
    with patch.object(TrialSizes, "size", return_value=1):
        main()
