"""The daemon: every sync by its schedule and by request, a face over HTTP, and no need to be restarted.

daemon      the parts together: one loop that keeps time, one config that may be read anew
timetable   which syncs are due, by clock and journal
desk        who asked for which run, and one thread for each destination that runs them
watching    whether the files that a config was made of have changed
notify      what systemd is told
vitals      whether it lives and is ready, and its numbers
listening   the HTTP side: a socket and its thread
api         what it answers
"""

from __future__ import annotations

from syncer.service.daemon import Daemon, serve

__all__ = ["Daemon", "serve"]
