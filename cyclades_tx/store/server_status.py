"""What a server looks like to its user, in SQL: from its state at rest and its open operations.

The expressions stand over the rows ``server``, ``change`` and ``removal``, which
:data:`OPEN_OPERATIONS` joins.
"""

from __future__ import annotations

STATUS = """case
 when server.state = 'deleted' then 'DELETED'
 when server.state = 'building' then 'BUILD'
 when change.kind = 'rebuild' then 'REBUILD'
 when change.kind = 'reboot' then
   case when change.arguments->>'type' = 'HARD' then 'HARD_REBOOT' else 'REBOOT' end
 when server.state = 'error' then 'ERROR'
 when change.kind = 'resize' and server.state = 'resized' then 'REVERT_RESIZE'
 when change.kind = 'resize' then 'RESIZE'
 when server.state = 'resized' then 'VERIFY_RESIZE'
 when server.state = 'rescued' then 'RESCUE'
 when server.suspended then 'SUSPENDED'
 when server.state = 'stopped' then 'SHUTOFF'
 else 'ACTIVE' end"""

TASK = """case
 when server.state = 'deleted' then null
 when removal.id is not null then 'deleting'
 when server.state = 'building' then
   case when coalesce(change.state, 'pending') = 'pending' then 'scheduling' else 'spawning' end
 else case change.kind
   when 'stop' then 'powering-off'
   when 'start' then 'powering-on'
   when 'reboot' then
     case when change.arguments->>'type' = 'HARD' then 'rebooting_hard' else 'rebooting' end
   when 'rebuild' then 'rebuilding'
   when 'resize' then
     case when server.state = 'resized' then 'resize_reverting' else 'resize_migrating' end
   when 'rescue' then 'rescuing'
   when 'unrescue' then 'unrescuing'
   when 'snapshot' then 'image_snapshot'
   end end"""

OPEN_OPERATIONS = """
 left join operation change on change.server_id = server.id
   and change.finished_at is null and change.kind <> 'delete'
 left join operation removal on removal.server_id = server.id
   and removal.finished_at is null and removal.kind = 'delete'"""
