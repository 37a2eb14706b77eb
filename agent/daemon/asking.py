"""How often the kubelet is asked who holds what: the more often, the more its answer matters."""

from __future__ import annotations

from agent.ledger.ledger import Account, Ledger

# While GPUs are withheld because of it, while it has not confirmed what it was given, and until
# one that has just started knows its pods.
FOLLOW_S = 1.0
# A kubelet that has started without its checkpoint gives devices away as soon as it knows its
# pods, which takes it some tenths of a second; and what it was given it tells of at once.
FOLLOW_FRESH_S, FRESH_S, FRESH_GRANT_S = 0.1, 5.0, 1.0
# While pods hold GPUs, so that those that ended count as free where the kubelet does not
# offer them.
FOLLOW_HELD_S = 10.0


class Asking:
    """When the kubelet is asked next; times are those of one clock, in seconds."""

    def __init__(self) -> None:
        """Begin with a kubelet that knows its pods."""
        self._settling = False
        self._fresh_until_s = 0.0

    def moved(self, now_s: float) -> None:
        """Take in that devices were given away, or that pods which held some have ended."""
        self._fresh_until_s = max(self._fresh_until_s, now_s + FRESH_GRANT_S)

    def restarted(self, now_s: float) -> None:
        """Take in that another kubelet serves the node: it may have forgotten what pods hold."""
        self._settling = True
        self._fresh_until_s = now_s + FRESH_S

    def answered(self, account: Account | None) -> None:
        """Take in what it said; None: nothing."""
        self._settling = account is not None and not account.settled

    def pause_s(self, ledger: Ledger, *, withholds: bool, now_s: float) -> float | None:
        """Return when to ask again; None: not before something changes.

        ``withholds``: GPUs are withheld because of what it said.
        """
        if not (withholds or self._settling or ledger.grants or ledger.confirmed):
            return None
        if now_s < self._fresh_until_s:
            return FOLLOW_FRESH_S
        waits = withholds or self._settling or ledger.grants
        return FOLLOW_S if waits else FOLLOW_HELD_S
