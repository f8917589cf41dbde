"""Where the command line and the running service meet, and by which sign."""

from __future__ import annotations

#: The method of a token that was written into the database by an operator.
METHOD = "operator"
#: Where a server is created in a user's name.
SERVERS_PATH = "/operator/v1/servers"
