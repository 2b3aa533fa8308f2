"""This machine: which process owns what on it, and which addresses never leave it.

`owner` names a process so that a later one can tell whether it is gone, and ends the servers that a killed process
left behind. `loopback` keeps proxies away from this machine's own servers.

Public: `owner.current_owner`, `is_gone`, `mark_children`, `end_orphans`; `loopback.exempt_loopback`.
"""
