"""``python -m cyclades_tx.manage``: the same as ``snf-manage``."""

from cyclades_tx.manage import main

main()
